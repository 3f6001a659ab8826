//! The bundled provider backends: the real libraries, loaded as the daemon loads them, against the stand-ins for
//! their providers.

mod faults;
pub(crate) mod http;
mod nexmo;
mod plivo;
mod reports;
mod rig;
mod sandbox;
mod twilio;
