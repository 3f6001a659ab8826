//! The last step to a backend: its services, and its construction. And a library that is linked into this program, for
//! which this is the only step.

use std::sync::Arc;

use phone_verify_plugin_abi::RootRef;
use serde_json::{Map, Value};

use super::Loader;
use crate::{
    Backend, BackendName,
    instance::{Instance, Maker, Opened},
    isolation::IsolationMode,
    load::Library,
    options::{self, Options},
    preflight::{BackendInfo, Manifest},
    refusal::{Refusal, code},
    scrub::Scrubber,
    services::{
        Services,
        http::{Bounds, Egress, Http},
    },
};

impl Loader {
    /// Constructs a backend of a library that is linked into this program. There is no file to find, to judge, to trust
    /// or to stage; all else is as for a library in this process that was loaded from one.
    pub fn load_linked(
        &self,
        name: &BackendName,
        root: RootRef,
        options: &Map<String, Value>,
    ) -> Result<Backend, Vec<Refusal>> {
        let file = format!("the linked library {}", name.library);
        let manifest = root.manifest_json()();
        let manifest = Manifest::parse(&file, manifest.as_bytes()).map_err(|refusal| vec![refusal])?;
        let info = manifest
            .backend(&file, &name.backend)
            .map_err(|refusal| vec![refusal])?
            .clone();
        let options = options::check(name, &manifest, &info, options)?;
        let services = self.services(name, &info, &options);
        let library = Opened::Inline(Library::linked(root));
        let constructed = instance(name, library, options, &services)?;
        let place = IsolationMode::Inline;
        Ok(Backend::new(name, &manifest, place, info, constructed, services))
    }

    /// What the host offers a backend with these options.
    pub(super) fn services(
        &self,
        name: &BackendName,
        info: &BackendInfo,
        options: &Options,
    ) -> Arc<Services> {
        let egress = Egress::new(
            &info.hosts,
            &options.base_urls,
            self.config.allow_private_addresses,
        );
        Arc::new(Services::new(
            &name.to_string(),
            Arc::new(self.scrubber(&options.secrets)),
            self.config.clock.clone(),
            self.config.entropy.clone(),
            Http {
                clients: Arc::clone(&self.clients),
                egress,
                bounds: Bounds::new(self.config.requests_at_once),
                clock: self.config.clock.clone(),
            },
        ))
    }

    fn scrubber(&self, secrets: &[String]) -> Scrubber {
        if self.is_rehearsal {
            Scrubber::default()
        } else {
            Scrubber::new(secrets)
        }
    }
}

/// The most characters of what a library says about its options: all that is wrong with them, where the error of a call
/// is one sentence.
const MAX_REFUSAL_CHARACTERS: usize = 2000;

/// Constructs a backend of an open library.
pub(super) fn instance(
    name: &BackendName,
    library: Opened,
    options: Options,
    services: &Arc<Services>,
) -> Result<Instance, Vec<Refusal>> {
    let maker = Maker::new(library, &name.backend, options.json, Arc::clone(services));
    Instance::construct(maker).map_err(|why| {
        let (code, may_pass) = (why.code(), why.may_pass());
        let message = services
            .scrubber
            .clean(&why.raw().message, &[], MAX_REFUSAL_CHARACTERS);
        let sentence = if code == code::OPTION_TYPE {
            format!("{name} does not take its options: {message}; correct OPTIONS")
        } else {
            format!("{name} could not be constructed: {message}")
        };
        vec![Refusal {
            may_pass,
            ..Refusal::new(code, sentence)
        }]
    })
}
