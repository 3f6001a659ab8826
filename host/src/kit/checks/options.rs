//! Checks of options: a missing, wrong or unknown one is refused by its name, and no refusal repeats a secret.

use std::time::Duration;

use phone_verify_plugin_host::{OptionInfo, Refusal};
use serde_json::{Map, Value, json};

use crate::kit::{
    bench::{Bench, Outcome, fail, sentences, skip},
    pace,
    sample::folded,
};

/// Time limit of a constructor: far more than reading options takes, even on a slow machine.
const CONSTRUCTOR_LIMIT: Duration = Duration::from_millis(250);

/// The backend can be constructed at all.
pub(super) fn constructed(bench: &Bench) -> Outcome {
    bench.backend().map(drop)
}

/// Whether the refusals name the option, or its alias.
fn name(refusals: &[Refusal], option: &OptionInfo) -> bool {
    let text = sentences(refusals).to_uppercase();
    let is_named = |name: &str| !name.is_empty() && text.contains(&name.to_uppercase());
    is_named(&option.name) || is_named(&option.alias)
}

/// The declared options. Skips a backend that has none.
fn options(bench: &Bench) -> Result<&[OptionInfo], crate::kit::bench::Stop> {
    match bench.about()?.options.as_slice() {
        [] => skip("it takes no options"),
        options => Ok(options),
    }
}

/// Leaves out one option at a time. The manifest and the code must agree on which are required.
pub(super) fn missing(bench: &Bench) -> Outcome {
    let infos = options(bench)?;
    bench.backend()?;
    for info in infos {
        let mut given = bench.options().clone();
        given.retain(|key, _| folded(key) != folded(&info.name));
        let is_needed = info.required && info.default.is_null();
        match bench.backend_with(&given) {
            Ok(_) if is_needed => {
                return fail(format!(
                    "{} is required by the manifest, and not missed when it is not given",
                    info.name
                ));
            }
            Err(refusals) if is_needed && !name(&refusals, info) => {
                return fail(format!(
                    "without {} it is refused without naming it: {}",
                    info.name,
                    sentences(&refusals)
                ));
            }
            // Some options are alternatives, such as a key or a token. Then the refusal may name either.
            Err(refusals) if !infos.iter().any(|option| name(&refusals, option)) => {
                return fail(format!(
                    "without {} it is refused without naming an option: {}",
                    info.name,
                    sentences(&refusals)
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Settings files, environment variables and the manifest spell the same option differently.
pub(super) fn any_case(bench: &Bench) -> Outcome {
    options(bench)?;
    bench.backend()?;
    let spellings: [fn(&str) -> String; 4] = [
        str::to_lowercase,
        str::to_uppercase,
        |key| key.to_lowercase().replace('_', "-"),
        |key| {
            let mixed = |(at, character): (usize, char)| {
                if at % 2 == 0 {
                    character.to_ascii_uppercase()
                } else {
                    character.to_ascii_lowercase()
                }
            };
            key.chars().enumerate().map(mixed).collect()
        },
    ];
    for spelling in spellings {
        let given: Map<String, Value> = bench
            .options()
            .iter()
            .map(|(key, value)| (spelling(key), value.clone()))
            .collect();
        if let Err(refusals) = bench.backend_with(&given) {
            let keys: Vec<&String> = given.keys().collect();
            return fail(format!(
                "it does not take its options as {keys:?}: {}",
                sentences(&refusals)
            ));
        }
    }
    not_twice(bench)
}

/// The same option in two spellings must be refused: the backend could only guess which one is meant.
fn not_twice(bench: &Bench) -> Outcome {
    for info in options(bench)? {
        let Some(value) = bench.options().get(&info.name) else {
            continue;
        };
        let mut given = bench.options().clone();
        given.remove(&info.name);
        given.insert(info.name.to_uppercase(), value.clone());
        given.insert(info.name.to_lowercase(), value.clone());
        match bench.backend_with(&given) {
            Ok(_) => return fail(format!("{} may be written twice, in two cases", info.name)),
            Err(refusals) if !name(&refusals, info) => {
                return fail(format!(
                    "{} twice is refused without naming it: {}",
                    info.name,
                    sentences(&refusals)
                ));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// Repeats the last letter of each option's name. The refusal must suggest the right name.
pub(super) fn misspelt(bench: &Bench) -> Outcome {
    for info in options(bench)? {
        let Some(value) = bench.options().get(&info.name) else {
            continue;
        };
        let last: String = info.name.chars().last().into_iter().collect();
        let slip = format!("{}{last}", info.name);
        let mut given = bench.options().clone();
        given.insert(slip.clone(), value.clone());
        match bench.backend_with(&given) {
            Ok(_) => return fail(format!("{slip} is taken as well as {}", info.name)),
            Err(refusals) if !name(&refusals, info) => {
                return fail(format!(
                    "{slip} is refused without naming {}: {}",
                    info.name,
                    sentences(&refusals)
                ));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// Gives each option a value of a wrong type, and null.
pub(super) fn wrong_type(bench: &Bench) -> Outcome {
    for info in options(bench)? {
        // Every other type refuses a table; a table refuses a text.
        let other = if info.value_type == "table" {
            json!("a text")
        } else {
            json!({ "a": "table" })
        };
        for wrong in [other, Value::Null] {
            let mut given = bench.options().clone();
            given.insert(info.name.clone(), wrong.clone());
            match bench.backend_with(&given) {
                Ok(_) => return fail(format!("{} may be {wrong}", info.name)),
                Err(refusals) if !name(&refusals, info) => {
                    return fail(format!(
                        "{wrong} for {} is refused without naming it: {}",
                        info.name,
                        sentences(&refusals)
                    ));
                }
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// Gives each text option unusual texts: control characters, header injection, very long ones.
pub(super) fn odd(bench: &Bench) -> Outcome {
    let long = "x".repeat(100_000);
    for info in options(bench)?.iter().filter(|info| info.value_type == "string") {
        for odd in [
            "\u{0}",
            "a\r\nb: c",
            "€ 😀 שלום",
            "%s%n{}",
            "../../etc/passwd",
            &long,
        ] {
            let mut given = bench.options().clone();
            given.insert(info.name.clone(), json!(odd));
            if let Err(refusals) = bench.backend_with(&given)
                && !name(&refusals, info)
            {
                return fail(format!(
                    "an odd text for {} is refused without naming it: {}",
                    info.name,
                    sentences(&refusals)
                ));
            }
        }
    }
    Ok(())
}

/// Provokes many refusals and searches each for the secret options: refusals go to logs and terminals.
pub(super) fn secrets_in_refusals(bench: &Bench) -> Outcome {
    let infos = options(bench)?;
    if bench.canaries().is_empty() {
        return skip("it has no secret option");
    }
    // One other option is wrong each time, while the secrets are right.
    let spoil = infos.iter().flat_map(|info| {
        [
            json!("wrong"),
            json!("not an address, not a number"),
            json!(-1),
            json!([]),
        ]
        .map(|value| (info, value))
    });
    for (info, value) in spoil.filter(|(info, _)| !info.secret) {
        let mut given = bench.options().clone();
        given.insert(info.name.clone(), value);
        tells_none(bench, &given)?;
    }
    for info in infos {
        let mut given = bench.options().clone();
        given.remove(&info.name);
        tells_none(bench, &given)?;
        if info.secret {
            // A secret that is refused for its own form must not be repeated either.
            given.insert(
                info.name.clone(),
                json!(format!("{}\n{}", bench.canaries()[0], bench.canaries()[0])),
            );
            tells_none(bench, &given)?;
        }
    }
    Ok(())
}

/// Fails if a refusal of these options contains a canary.
fn tells_none(bench: &Bench, given: &Map<String, Value>) -> Outcome {
    let Err(refusals) = bench.backend_with(given) else {
        return Ok(());
    };
    match refusals
        .iter()
        .find(|refusal| bench.canary_in(&refusal.sentence).is_some())
    {
        Some(refusal) => fail(format!("a refusal repeats a secret: {refusal}")),
        None => Ok(()),
    }
}

/// The constructor must make no request and be fast: the daemon must start while the provider is down.
pub(super) fn constructor(bench: &Bench) -> Outcome {
    // The first one opens the library too.
    bench.backend()?;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let before = bench.stopwatch.elapsed();
        bench.backend()?;
        fastest = fastest.min(bench.stopwatch.elapsed().saturating_sub(before));
    }
    if !bench.network.requests().is_empty() || !bench.network.denied().is_empty() {
        return fail("the constructor makes a request; nothing must depend on the provider at start");
    }
    if fastest > CONSTRUCTOR_LIMIT && fastest > CONSTRUCTOR_LIMIT.mul_f64(pace::slowness(&bench.stopwatch)) {
        return fail(format!("the constructor takes {} ms", fastest.as_millis()));
    }
    Ok(())
}
