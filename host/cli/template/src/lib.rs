//! An agent that takes notes: `list` answers them all, anything else is a new one.

use podium_sdk::prelude::*;

/// What the agent remembers between messages. The host keeps it as JSON: `{"items": ["buy bread"]}`.
#[derive(Default, DeltaState)]
struct Notes {
    items: Vec<String>,
}

struct NoteTaker;

#[podium_sdk::agent]
impl Agent for NoteTaker {
    type State = Notes;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let text = message.text.trim();
        if text.is_empty() {
            bail!("there is nothing to note");
        }
        if text == "list" {
            return cx.reply(cx.state.items.join("\n"));
        }
        cx.state.items.push(text.to_owned());
        podium_sdk::info!("a note of {} bytes", text.len());
        cx.reply(format!("kept as note {}", cx.state.items.len()))
    }
}

#[cfg(test)]
mod tests {
    use podium_sdk::testing::TestAgent;

    use super::*;

    #[test]
    fn notes_are_kept_and_listed() {
        let mut agent = TestAgent::<NoteTaker>::new();
        assert_eq!(agent.send("buy bread").reply(), "kept as note 1");
        assert_eq!(agent.send(" water the plants ").reply(), "kept as note 2");
        assert_eq!(agent.send("list").reply(), "buy bread\nwater the plants");
        assert_eq!(
            agent.state(),
            &json!({"items": ["buy bread", "water the plants"]})
        );
    }

    #[test]
    fn an_empty_note_is_refused_and_nothing_is_kept() {
        let mut agent = TestAgent::<NoteTaker>::new().with_state(json!({"items": ["buy bread"]}));
        assert_eq!(agent.send("  ").error().message, "there is nothing to note");
        assert_eq!(agent.memory().items, ["buy bread"]);
    }
}
