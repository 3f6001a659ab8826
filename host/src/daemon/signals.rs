//! What asks the daemon to end or to reload from outside: signals on Unix, events of the console and of the service
//! manager on Windows.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Control;

/// To end is asked for by SIGTERM and SIGINT, to reload by SIGHUP. On Windows, to end by Ctrl-C, Ctrl-Break, the end of
/// the console or of the system, and either by the service manager. Call it once, inside a tokio runtime, before
/// anything else runs there: what was asked for earlier is not heard.
pub fn signals() -> Control {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    // One that comes while another waits asks for nothing more.
    let (hung_up, reloads) = mpsc::channel(1);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{Signal, SignalKind, signal};
        // Taken over before anything else runs, so that none is missed.
        let signals: std::io::Result<Vec<Signal>> = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ]
        .into_iter()
        .map(signal)
        .collect();
        tokio::spawn(async move {
            let mut signals = match signals {
                Ok(signals) => signals,
                Err(error) => return tracing::error!(%error, "signals cannot be waited for"),
            };
            let [terminate, interrupt, hangup] = &mut signals[..] else {
                return;
            };
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hangup.recv() => {
                        tracing::info!("SIGHUP: reloading settings and backend");
                        let _ = hung_up.try_send(());
                    }
                }
            }
            tracing::info!("stopping");
            cancel.cancel();
        });
    }
    #[cfg(windows)]
    tokio::spawn(async move {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};

        use super::service_manager::{asked_to_reload, asked_to_stop};

        let heard = (ctrl_c(), ctrl_break(), ctrl_close(), ctrl_shutdown());
        let (Ok(mut interrupt), Ok(mut end), Ok(mut close), Ok(mut shutdown)) = heard else {
            return tracing::error!("the events of the console cannot be waited for");
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = end.recv() => break,
                _ = close.recv() => break,
                _ = shutdown.recv() => break,
                () = asked_to_stop() => break,
                () = asked_to_reload() => {
                    tracing::info!("asked by the service manager: reloading settings and backend");
                    let _ = hung_up.try_send(());
                }
            }
        }
        tracing::info!("stopping");
        cancel.cancel();
    });
    Control { stop, reloads }
}
