//! What a waiting call asks of the node, the web and the host, on the runtime's threads.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::api::{self, Op};
use super::job::{MemberInfo, OpResult};
use super::shared::Shared;
use crate::node::{Handle, HistoryQuery, NodeError, SendOptions};

/// Most messages that `chat:members` looks at.
pub(super) const MEMBERS_MESSAGES_MAX: usize = 10_000;
/// Messages of one page of it.
const MEMBERS_PAGE: usize = 1_000;

/// Runs it. An error is what the call returns as its reason.
pub(super) async fn run(op: Op, node: &Handle, shared: &Arc<Shared>) -> Result<OpResult, String> {
    match op {
        Op::Send { chat, text, reply_to } => {
            // What a script stored before it spoke is on disk before others hear of it.
            if let Some(values) = shared.link.stores.opened(&shared.name) {
                let _busy = shared.link.activity.begin();
                values.flush().await.map_err(|error| format!("the store couldn't be written: {error}"))?;
            }
            let options = SendOptions { reply_to, script: Some(Arc::clone(&shared.name)) };
            node.send(&chat, &text, options).await.map(OpResult::Sent).map_err(|error| error.to_string())
        }
        Op::History { chat, query } => {
            node.history(&chat, query).await.map(OpResult::Messages).map_err(|error| error.to_string())
        }
        Op::LoadHistory { chat, limit } => {
            let loaded = match limit {
                Some(limit) => node.load_newest(&chat, limit).await,
                None => node.load_history(&chat).await,
            };
            loaded.map(OpResult::Report).map_err(|error| error.to_string())
        }
        Op::Members { chat } => members(node, &chat).await.map(OpResult::Members).map_err(|error| error.to_string()),
        Op::Fetch(request) => {
            shared.link.web.fetch(*request).await.map(|response| OpResult::Fetched(Box::new(response)))
        }
        Op::WriteFile { name, text } => {
            let (files, script) = (shared.link.files.clone(), Arc::clone(&shared.name));
            let written = move || api::write_file(files.as_deref(), &script, &name, &text);
            tokio::task::spawn_blocking(written).await.map_err(|error| error.to_string())?.map(|()| OpResult::Written)
        }
        Op::Reload(name) => {
            let core = shared.link.core.get().and_then(Weak::upgrade);
            let core = core.ok_or_else(|| "the host has ended".to_owned())?;
            // It waits for scripts: not on a thread of the runtime.
            let reload = tokio::task::spawn_blocking(move || core.reload(name.as_deref()));
            let (loaded, failed) = reload.await.map_err(|error| error.to_string())?;
            Ok(OpResult::Reloaded(loaded, failed))
        }
        // The thread's own: nothing is asked.
        Op::Sleep(_) => Ok(OpResult::Slept),
    }
}

/// Who spoke in a chat's newest messages, the one who spoke last first.
async fn members(node: &Handle, chat: &str) -> Result<Vec<MemberInfo>, NodeError> {
    let mut found: HashMap<_, MemberInfo> = HashMap::new();
    let mut before = None;
    let mut seen = 0;
    while seen < MEMBERS_MESSAGES_MAX {
        let page = node.history(chat, HistoryQuery { limit: MEMBERS_PAGE, before }).await?;
        before = page.first().map(|message| message.id);
        seen += page.len();
        for message in page.iter().rev() {
            found
                .entry(message.from.id)
                .and_modify(|member| member.messages += 1)
                .or_insert_with(|| MemberInfo::of(message));
        }
        if page.len() < MEMBERS_PAGE {
            break;
        }
    }
    let mut members: Vec<_> = found.into_values().collect();
    members.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.person.id.cmp(&b.person.id)));
    Ok(members)
}
