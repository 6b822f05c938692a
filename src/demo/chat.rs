//! `gamehub.v1.Chat`: rooms in which everyone hears everyone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::errors::Refusal;
use super::pb::ChatMessage;
use super::pb::chat_server as server;

const ROOMS_MAX: usize = 100;
/// Messages that a room remembers.
const HISTORY: usize = 20;
/// Messages that a slow listener may be behind.
const BACKLOG: usize = 64;
const TEXT_BYTES_MAX: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Chat {
    rooms: Rooms,
}

#[derive(Clone, Debug, Default)]
struct Rooms(Arc<Mutex<BTreeMap<String, Room>>>);

#[derive(Debug)]
struct Room {
    said: VecDeque<ChatMessage>,
    last: i64,
    live: broadcast::Sender<ChatMessage>,
}

type Heard = Result<ChatMessage, Status>;

#[tonic::async_trait]
impl server::Chat for Chat {
    type JoinStream = ReceiverStream<Heard>;

    async fn join(
        &self,
        request: Request<Streaming<ChatMessage>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let (out, heard) = mpsc::channel(8);
        let rooms = self.rooms.clone();
        let inbound = request.into_inner();
        // Ends when the player leaves: then `inbound` ends or `out` has no reader.
        tokio::spawn(async move {
            if let Err(status) = converse(&rooms, inbound, &out).await {
                // The reader may have gone.
                let _ = out.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(heard)))
    }
}

/// Passes on what the player says and what the room says, until either has left.
async fn converse(
    rooms: &Rooms,
    mut inbound: Streaming<ChatMessage>,
    out: &mpsc::Sender<Heard>,
) -> Result<(), Status> {
    let Some(first) = inbound.message().await? else {
        return Ok(());
    };
    let room = first.room.clone();
    let (history, mut live) = rooms.enter(&room)?;
    for message in history {
        if out.send(Ok(message)).await.is_err() {
            return Ok(());
        }
    }
    rooms.say(&room, first)?;
    loop {
        tokio::select! {
            said = inbound.message() => match said? {
                Some(message) => rooms.say(&room, message)?,
                None => break,
            },
            heard = live.recv() => {
                if out.send(Ok(heard.map_err(|_| too_slow())?)).await.is_err() {
                    return Ok(());
                }
            }
            () = out.closed() => return Ok(()),
        }
    }
    // The player has said the last word; what was said up to then is still passed on.
    while let Ok(message) = live.try_recv() {
        if out.send(Ok(message)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn too_slow() -> Status {
    let message = format!("you are more than {BACKLOG} messages behind");
    Refusal::new(Code::ResourceExhausted, message)
        .reason("LISTENER_TOO_SLOW", [])
        .into()
}

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the room remembers, and everything said from now on.
    fn enter(
        &self,
        name: &str,
    ) -> Result<(Vec<ChatMessage>, broadcast::Receiver<ChatMessage>), Status> {
        if name.is_empty() || name.len() > 64 {
            return Err(Refusal::field("room", "must have 1 to 64 bytes"));
        }
        let mut rooms = self.lock();
        if rooms.len() >= ROOMS_MAX && !rooms.contains_key(name) {
            return Err(Refusal::new(Code::ResourceExhausted, "there are no more rooms").into());
        }
        let room = rooms.entry(name.to_owned()).or_insert_with(|| Room {
            said: VecDeque::new(),
            last: 0,
            live: broadcast::Sender::new(BACKLOG),
        });
        Ok((room.said.iter().cloned().collect(), room.live.subscribe()))
    }

    fn say(&self, name: &str, mut message: ChatMessage) -> Result<(), Status> {
        if message.text.is_empty() || message.text.len() > TEXT_BYTES_MAX {
            return Err(Refusal::field("text", "must have 1 to 1000 bytes"));
        }
        if !message.room.is_empty() && message.room != name {
            return Err(Refusal::field("room", "must be that of the first message"));
        }
        let mut rooms = self.lock();
        let Some(room) = rooms.get_mut(name) else {
            return Ok(());
        };
        room.last = room.last.saturating_add(1);
        message.room = name.to_owned();
        message.sequence = room.last;
        message.at = Some(SystemTime::now().into());
        room.said.push_back(message.clone());
        if room.said.len() > HISTORY {
            room.said.pop_front();
        }
        // Without listeners nobody hears it; the room remembers it all the same.
        let _ = room.live.send(message);
        Ok(())
    }
}
