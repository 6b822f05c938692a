//! What happens to a running process: reloads, another process that follows it, and its end.

use std::net::TcpListener;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::admin::{Admin, UpgradeReply};
use crate::app::Running;
use crate::control::reload::{Asked, Status};
use crate::drain::{Requests, Signals, Stop};
use crate::handover::{HandoverError, Program, Supervisor, hand_over};
use crate::listener::Purpose;

/// The exit code of a second signal, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// A gateway that serves.
#[derive(Debug)]
pub struct Started {
    pub running: Running,
    pub admin: Admin,
    /// Copies of the sockets for operators.
    pub operators: Vec<(Purpose, TcpListener)>,
    /// Begins a reload.
    pub asked: Arc<Asked>,
    pub reloads: watch::Receiver<Status>,
    /// Who wants another process to follow.
    pub wishes: mpsc::Receiver<UpgradeReply>,
}

/// What the process is told.
#[derive(Debug)]
pub struct Told {
    pub signals: Signals,
    hangups: Requests,
    upgrades: Requests,
}

impl Told {
    /// Takes the signals over.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            signals: Signals::install()?,
            hangups: Requests::hangups()?,
            upgrades: Requests::upgrades()?,
        })
    }
}

/// Why it ends.
enum End {
    Told(Stop),
    /// This process has taken over.
    Followed(u32),
}

/// Serves until told to stop, or followed by another process; then ends in order.
pub async fn live(mut started: Started, mut told: Told, program: Program) -> ExitCode {
    let end = serve(&mut started, &mut told, &program).await;
    let Started {
        running,
        mut admin,
        operators,
        ..
    } = started;
    drop(operators);
    match end {
        End::Told(signal) => {
            Supervisor.stopping();
            tokio::select! {
                () = stop(running, signal) => ExitCode::SUCCESS,
                _ = told.signals.next() => ExitCode::from(INTERRUPTED),
            }
        }
        End::Followed(pid) => {
            running.ports().close_all();
            admin.retire().await;
            tracing::info!(
                pid,
                connections = running.connections(),
                "another process has taken over; draining"
            );
            tokio::select! {
                () = running.leave() => {}
                // Those who wait for it have waited enough.
                _ = told.signals.next() => {}
            }
            tokio::select! {
                () = running.shutdown() => ExitCode::SUCCESS,
                _ = told.signals.next() => ExitCode::from(INTERRUPTED),
            }
        }
    }
}

type HandingOver = Pin<Box<dyn Future<Output = Result<u32, HandoverError>>>>;

async fn serve(started: &mut Started, told: &mut Told, program: &Program) -> End {
    // The next process, and who wants to hear of it.
    let mut next: Option<(HandingOver, Option<UpgradeReply>)> = None;
    // The service manager waits for this reload.
    let mut reloading: Option<u64> = None;
    loop {
        let wish = tokio::select! {
            signal = told.signals.next() => return End::Told(signal),
            () = told.hangups.next() => {
                Supervisor.reloading();
                reloading = Some(started.asked.ask());
                continue;
            }
            status = answered(&mut started.reloads, reloading), if reloading.is_some() => {
                if status {
                    Supervisor.ready();
                }
                reloading = None;
                continue;
            }
            outcome = followed(&mut next), if next.is_some() => {
                let reply = next.take().and_then(|(_, reply)| reply);
                if let Some(reply) = reply {
                    // Who asked may have left.
                    reply.send(outcome.as_ref().copied().map_err(ToString::to_string)).ok();
                }
                match outcome {
                    Ok(pid) => {
                        Supervisor.followed_by(pid);
                        return End::Followed(pid);
                    }
                    Err(error) => tracing::error!("no other process follows, this one serves on: {error}"),
                }
                continue;
            }
            () = told.upgrades.next() => None,
            Some(reply) = started.wishes.recv() => Some(reply),
        };
        if next.is_some() {
            match wish {
                Some(reply) => _ = reply.send(Err(HandoverError::Twice.to_string())),
                None => tracing::warn!("{}", HandoverError::Twice),
            }
            continue;
        }
        tracing::info!("starting another process to follow this one");
        next = Some((begin(started, program), wish));
    }
}

async fn followed(
    next: &mut Option<(HandingOver, Option<UpgradeReply>)>,
) -> Result<u32, HandoverError> {
    match next {
        Some((handing_over, _)) => handing_over.await,
        None => std::future::pending().await,
    }
}

/// Whether the reload was carried out; not, when nobody reloads any more.
async fn answered(reloads: &mut watch::Receiver<Status>, number: Option<u64>) -> bool {
    let done = |s: &Status| number.is_some_and(|number| s.answered >= number);
    reloads.wait_for(done).await.is_ok()
}

fn begin(started: &Started, program: &Program) -> HandingOver {
    let sockets = || -> Result<Vec<_>, HandoverError> {
        let mut sockets = Vec::new();
        let listeners = started.running.ports().sockets();
        let listeners = listeners.map_err(|error| HandoverError::Wire(error.cause))?;
        for (id, socket) in listeners {
            sockets.push((Purpose::Listener(id), socket));
        }
        for (purpose, socket) in &started.operators {
            sockets.push((purpose.clone(), socket.try_clone()?));
        }
        Ok(sockets)
    };
    match sockets() {
        Ok(sockets) => Box::pin(hand_over(program.clone(), sockets)),
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

/// Ends in order; dropping it ends at once.
async fn stop(running: Running, signal: Stop) {
    let signal_name = signal.name();
    let delay = running.live().load().timeouts.drain_delay;
    if signal == Stop::Terminate && !delay.is_zero() {
        tracing::info!(
            signal = signal_name,
            ?delay,
            "not ready any more; serving on while that gets around"
        );
        running.leave().await;
    }
    tracing::info!(
        signal = signal_name,
        connections = running.connections(),
        "draining"
    );
    running.shutdown().await;
}
