//! What an agent asks during a chat, and what a typed line says to it. Pure.
//!
//! The oldest open request takes the line. Must never show what was typed, and never send a line that cannot be an answer.

use podium_wire::asks::{
    Answer, ApprovalResolved, Ask, AskOutcome, Decision, GivenAnswer, GivenDecision, Permission, PermissionKind,
    Question, QuestionResolved,
};
use podium_wire::frames::ClientFrame;

use crate::sanitise;

/// The decisions, as they are typed and numbered.
const DECISIONS: [(Decision, &str); 4] = [
    (Decision::Accept, "accept"),
    (Decision::AcceptForSession, "accept-for-session"),
    (Decision::Decline, "decline"),
    (Decision::Cancel, "cancel"),
];

#[derive(Debug)]
struct Open {
    request_id: String,
    ask: Ask,
    /// A line was sent for it, and nothing was heard since.
    sent: bool,
    /// It was said how to answer elsewhere.
    told: bool,
}

/// The open requests of one turn, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Asks(Vec<Open>);

impl Asks {
    /// A request was opened. Answers what a person is to read, unless it is known already.
    pub(crate) fn opened(&mut self, request_id: &str, again: bool, ask: Ask) -> Option<String> {
        if self.0.iter().any(|open| open.request_id == request_id) {
            return None;
        }
        let shown = shown(request_id, again, &ask);
        self.0.push(Open { request_id: request_id.to_owned(), ask, sent: false, told: false });
        Some(shown)
    }

    /// A question was resolved. Answers what a person is to read, unless it was not open here.
    pub(crate) fn answered(&mut self, resolved: &QuestionResolved) -> Option<String> {
        let sent = self.closed(&resolved.request_id)?;
        let said = resolved.answer.as_ref().map(|answer| answer.as_str());
        Some(how(resolved.outcome, said, sent))
    }

    /// The same for a permission.
    pub(crate) fn decided(&mut self, resolved: &ApprovalResolved) -> Option<String> {
        let sent = self.closed(&resolved.request_id)?;
        Some(how(resolved.outcome, resolved.decision.map(word), sent))
    }

    /// Takes it out; answers whether a line was sent for it.
    fn closed(&mut self, request_id: &str) -> Option<bool> {
        let index = self.0.iter().position(|open| open.request_id == request_id)?;
        Some(self.0.remove(index).sent)
    }

    /// What was asked is asked anew, or not at all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What was sent may be lost, or was refused: the requests that are still open take a line again.
    pub(crate) fn unsent(&mut self) {
        for open in &mut self.0 {
            open.sent = false;
        }
    }

    fn current(&self) -> Option<&Open> {
        self.0.iter().find(|open| !open.sent)
    }

    /// True when the next line is an answer.
    pub(crate) fn want_line(&self) -> bool {
        self.current().is_some()
    }

    /// True when that answer is not to be shown while it is typed.
    pub(crate) fn want_secret(&self) -> bool {
        matches!(self.current(), Some(Open { ask: Ask::Question(question), .. }) if question.is_secret)
    }

    /// True when there is a request of which nobody was told how to answer elsewhere.
    pub(crate) fn is_untold(&self) -> bool {
        self.0.iter().any(|open| !open.told)
    }

    /// Everybody was told.
    pub(crate) fn told(&mut self) {
        for open in &mut self.0 {
            open.told = true;
        }
    }

    /// The oldest open request, for those who answer elsewhere.
    pub(crate) fn oldest(&self) -> Option<&str> {
        self.0.first().map(|open| open.request_id.as_str())
    }

    /// Reads a line as the answer; an error says what is wanted instead.
    pub(crate) fn line(&mut self, line: &str) -> Result<ClientFrame, String> {
        let Some(open) = self.0.iter_mut().find(|open| !open.sent) else {
            return Err("nothing is asked any more".to_owned());
        };
        let request_id = open.request_id.clone();
        let frame = match &open.ask {
            Ask::Question(question) => ClientFrame::Answer(GivenAnswer { request_id, answer: answer(question, line)? }),
            Ask::Permission(_) => ClientFrame::Approve(GivenDecision { request_id, decision: decision(line)? }),
        };
        open.sent = true;
        Ok(frame)
    }
}

/// A line as an answer: an option's number or label, else a text where the question takes one.
pub(crate) fn answer(question: &Question, line: &str) -> Result<Answer, String> {
    let word = line.trim();
    let by_number = word.parse::<usize>().ok().and_then(|number| question.options.get(number.checked_sub(1)?));
    let option = question.options.iter().find(|option| option.label == word).or(by_number);
    if let Some(option) = option {
        return Ok(Answer::Option(option.label.clone()));
    }
    let count = question.options.len();
    match question.takes_text() {
        true if !line.is_empty() => Ok(Answer::Text(line.to_owned())),
        true => Err("an answer is wanted".to_owned()),
        false => Err(format!("a number from 1 to {count}, or what stands behind it, is wanted")),
    }
}

/// A line as a decision: its number, its name, or yes and no.
pub(crate) fn decision(line: &str) -> Result<Decision, String> {
    let word = line.trim().to_ascii_lowercase();
    let named = DECISIONS.iter().zip(["1", "2", "3", "4"]).find(|((_, name), number)| *name == word || *number == word);
    match (named, word.as_str()) {
        (Some(((decision, _), _)), _) => Ok(*decision),
        (None, "y" | "yes") => Ok(Decision::Accept),
        (None, "n" | "no") => Ok(Decision::Decline),
        (None, _) => Err("accept, accept-for-session, decline or cancel is wanted, or its number".to_owned()),
    }
}

/// A decision as it is typed.
fn word(decision: Decision) -> &'static str {
    DECISIONS.iter().find(|(known, _)| *known == decision).map_or("", |(_, name)| name)
}

fn how(outcome: AskOutcome, said: Option<&str>, sent: bool) -> String {
    match (outcome, said) {
        (AskOutcome::Answered, Some(said)) => format!("answered: {}", sanitise::cell(said)),
        (AskOutcome::Answered, None) if sent => "answered".to_owned(),
        (AskOutcome::Answered, None) => "answered by somebody".to_owned(),
        (AskOutcome::Cancelled, _) => "the question is not wanted any more".to_owned(),
        (AskOutcome::TurnEnded, _) => "the question went away with its turn".to_owned(),
    }
}

/// What is asked, in the lines that a person reads.
fn shown(request_id: &str, again: bool, ask: &Ask) -> String {
    let again = if again { " (asked again)" } else { "" };
    let mut lines = Vec::new();
    match ask {
        Ask::Question(Question { header, text, options, is_secret, .. }) => {
            let header = if header.is_empty() { String::new() } else { format!("{header}: ") };
            lines.push(format!("? {header}{text}{again}"));
            for (number, option) in (1..).zip(options) {
                let about = sanitise::cell(&option.description);
                let about = if about.is_empty() { about } else { format!(" - {about}") };
                lines.push(format!("  {number} {}{about}", sanitise::cell(&option.label)));
            }
            let Ask::Question(question) = ask else { return String::new() };
            if question.takes_text() && !options.is_empty() {
                lines.push("  or a text of your own".to_owned());
            }
            if *is_secret {
                lines.push("  (what you type is not shown, and not kept)".to_owned());
            }
        }
        Ask::Permission(permission) => {
            lines.push(format!("? {}{again}", request(permission)));
            if permission.details.as_object().is_none_or(|details| !details.is_empty()) {
                lines.push(format!("  {}", permission.details));
            }
            let choices: Vec<String> =
                (1..).zip(DECISIONS).map(|(number, (_, name))| format!("{number} {name}")).collect();
            lines.push(format!("  {}", choices.join("   ")));
        }
    }
    lines.push(format!("  [{request_id}]"));
    lines.join("\n")
}

/// A request for permission in one line.
pub(crate) fn request(permission: &Permission) -> String {
    let what = match permission.kind {
        PermissionKind::Command => "run",
        PermissionKind::FileChange => "change files",
        PermissionKind::Permissions => "permissions",
        PermissionKind::Tool => "tool",
    };
    format!("permission: {what}: {}", permission.title)
}

#[cfg(test)]
mod tests {
    use podium_wire::asks::QuestionOption;
    use serde_json::json;

    use super::*;

    fn question(labels: &[&str], is_other: bool) -> Question {
        let option = |label: &&str| QuestionOption { label: (*label).to_owned(), description: "why\nnot".to_owned() };
        Question {
            id: "q".into(),
            header: "Deploy".into(),
            text: "Where to?".into(),
            options: labels.iter().map(option).collect(),
            is_other,
            is_secret: false,
        }
    }

    #[test]
    fn a_line_is_a_number_a_label_or_a_text() {
        let option = |label: &str| Ok(Answer::Option(label.to_owned()));
        let text = |text: &str| Ok(Answer::Text(text.to_owned()));
        let closed = question(&["staging", "2"], false);
        assert_eq!(answer(&closed, " 1 "), option("staging"));
        assert_eq!(answer(&closed, "staging"), option("staging"));
        assert_eq!(answer(&closed, "2"), option("2"), "a label goes before a number");
        for wrong in ["0", "3", "-1", "elsewhere", "", "99999999999999999999"] {
            assert!(answer(&closed, wrong).is_err(), "{wrong}");
        }
        let open = question(&["staging"], true);
        assert_eq!(answer(&open, "3"), text("3"));
        assert_eq!(answer(&open, " else "), text(" else "));
        assert_eq!(answer(&question(&[], false), "1"), text("1"));
        assert!(answer(&question(&[], false), "").is_err());
    }

    #[test]
    fn a_line_is_a_decision() {
        for (line, wanted) in [
            ("1", Decision::Accept),
            (" Accept", Decision::Accept),
            ("y", Decision::Accept),
            ("2", Decision::AcceptForSession),
            ("no", Decision::Decline),
            ("cancel", Decision::Cancel),
        ] {
            assert_eq!(decision(line), Ok(wanted), "{line}");
        }
        assert!(decision("perhaps").is_err() && decision("").is_err() && decision("5").is_err());
    }

    #[test]
    fn the_oldest_takes_the_line_once() {
        let mut asks = Asks::default();
        let shown = asks.opened("7:a", false, Ask::Question(question(&["staging"], true))).expect("new");
        assert_eq!(shown, "? Deploy: Where to?\n  1 staging - why␊not\n  or a text of your own\n  [7:a]");
        assert_eq!(asks.opened("7:a", false, Ask::Question(question(&["staging"], true))), None);
        let details = json!({"cwd": "/"});
        let permission = Permission { kind: PermissionKind::Command, title: "ls".into(), details };
        let shown = asks.opened("7#1", true, Ask::Permission(permission)).expect("new");
        assert!(shown.starts_with("? permission: run: ls (asked again)\n  {\"cwd\":\"/\"}\n  1 accept   2"), "{shown}");
        let sent = |request_id: &str, text: &str| {
            let answer = Answer::Text(text.to_owned());
            Ok(ClientFrame::Answer(GivenAnswer { request_id: request_id.to_owned(), answer }))
        };
        assert_eq!(asks.line("here"), sent("7:a", "here"));
        assert!(asks.line("here").is_err(), "the next line is for the permission");
        let decided = ClientFrame::Approve(GivenDecision { request_id: "7#1".into(), decision: Decision::Accept });
        assert_eq!(asks.line("yes"), Ok(decided));
        assert!(!asks.want_line());
        asks.unsent();
        assert_eq!(asks.line("there"), sent("7:a", "there"));
        let resolved = |answer: Option<&str>| QuestionResolved {
            request_id: "7:a".into(),
            outcome: AskOutcome::Answered,
            answer: answer.map(|text| Answer::Text(text.to_owned())),
            by: None,
            channel: None,
        };
        assert_eq!(asks.answered(&resolved(Some("there"))), Some("answered: there".to_owned()));
        assert_eq!(asks.answered(&resolved(None)), None);
        assert_eq!(asks.oldest(), Some("7#1"));
    }

    #[test]
    fn a_secret_is_asked_for_unseen() {
        let mut asks = Asks::default();
        let secret = Question { is_secret: true, ..question(&[], false) };
        assert!(asks.opened("7:k", false, Ask::Question(secret)).expect("new").contains("not shown"));
        assert!(asks.want_secret());
        assert!(asks.line("hunter2").is_ok_and(|frame| !format!("{frame:?}").contains("hunter2")));
        assert!(!asks.want_secret());
    }
}
