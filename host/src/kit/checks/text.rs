//! Checks of texts: the provider must receive exactly the text that the host gave to the backend.

use crate::{
    kit::{
        bench::{ALICE, Bench, Outcome, fail},
        wire,
    },
    model::FailureClass,
};

/// The whole default alphabet of GSM 03.38 except its two line ends, and its extension table.
const GSM: &str = "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§\
                   ¿abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€";

/// Whether the backend may refuse a text.
#[derive(Clone, Copy, PartialEq)]
enum May {
    Arrive,
    BeRefused,
}

/// Sends the text and searches the request for it. A refusal is accepted only as [`FailureClass::ContentRejected`].
fn arrives(bench: &Bench, text: &str, may: May) -> Outcome {
    let (backend, _) = bench.with_provider()?;
    let sent = bench.wait(bench.send(&backend, ALICE, text));
    let start: String = text.chars().take(30).collect();
    match sent {
        Ok(_) => {
            let requests = bench.network.requests();
            if requests.iter().any(|request| wire::carries(request, text)) {
                return Ok(());
            }
            fail(format!("the text {start:?}… does not arrive as it was written"))
        }
        Err(failure) if may == May::BeRefused && failure.class == FailureClass::ContentRejected => Ok(()),
        Err(failure) => fail(format!("the text {start:?}… is not sent: {failure}")),
    }
}

/// All characters that a GSM-7 message can carry.
pub(super) fn gsm(bench: &Bench) -> Outcome {
    arrives(bench, GSM, May::Arrive)?;
    arrives(bench, "two\nlines", May::Arrive)
}

/// Other scripts, emoji with joiners, combining marks.
pub(super) fn unicode(bench: &Bench) -> Outcome {
    for text in [
        "Ваш код 482913",
        "您的验证码是 482913",
        "kód „482913“ – ě",
        "code 😀👩‍👩‍👧 482913",
        "e\u{301} 482913",
    ] {
        arrives(bench, text, May::Arrive)?;
    }
    Ok(())
}

/// 1600 characters: about ten SMS, which a provider may refuse.
pub(super) fn long(bench: &Bench) -> Outcome {
    arrives(bench, &"0123456789".repeat(160), May::BeRefused)?;
    arrives(bench, &"Ωж".repeat(800), May::BeRefused)
}

/// Hebrew, Arabic and explicit direction marks.
pub(super) fn right_to_left(bench: &Bench) -> Outcome {
    for text in [
        "קוד האימות שלך הוא 482913",
        "رمز التحقق 482913",
        "\u{202e}482913\u{202c} \u{2067}a\u{2069}",
    ] {
        arrives(bench, text, May::Arrive)?;
    }
    Ok(())
}

/// Control characters must arrive or be refused, never be changed silently.
pub(super) fn control(bench: &Bench) -> Outcome {
    for text in [
        "a\0b",
        "\u{1b}[2J482913",
        "a\r\nb",
        "\u{7}\u{8}\u{7f}x",
        "\u{feff}482913\u{fffd}",
    ] {
        arrives(bench, text, May::BeRefused)?;
    }
    Ok(())
}

/// Texts that imitate the provider's format. They must not add fields to the request, such as a second recipient.
pub(super) fn markup(bench: &Bench) -> Outcome {
    let (backend, _) = bench.with_provider()?;
    let shape_of = |text: &str| {
        let _ = bench.wait(bench.send(&backend, ALICE, text));
        bench
            .network
            .requests()
            .iter()
            .map(wire::shape)
            .collect::<Vec<_>>()
    };
    let plain = shape_of("plain");
    for text in [
        "a&to=%2B1900&b=c",
        "\", \"to\": \"+1900\", \"x\": \"",
        "</text><to>+1900</to>",
        "{app} {{code}} ${SECRET} %s %n",
        "' OR 1=1; --",
        "a+b%20c%zz",
    ] {
        if shape_of(text) != plain {
            return fail(format!("the text {text:?} adds fields of its own to the request"));
        }
        arrives(bench, text, May::Arrive)?;
    }
    Ok(())
}
