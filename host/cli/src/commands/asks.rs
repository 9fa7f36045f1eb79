//! `podium instance asks` and `podium instance answer`: what a turn asks, for scripts and for people elsewhere.

use std::io::IsTerminal;

use podium_wire::InstanceId;
use podium_wire::asks::{Answer, Ask, AskList, GivenAnswer, GivenDecision, OpenAsk};
use reqwest::Method;
use serde_json::json;

use crate::chat::asks::{answer, decision, request};
use crate::chat::echo::Echo;
use crate::chat::piped::read_line;
use crate::client::{Client, QUICK};
use crate::exit::Failure;
use crate::output::{Output, moment, note};

/// An answer on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Given {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// What it asks, as `podium instance asks` shows it
    #[arg(value_name = "REQUEST")]
    request: String,
    /// An option's number or label, or a text; accept, accept-for-session, decline or cancel for a permission. Without it, or
    /// with `-`: a line of stdin, which keeps a secret out of the shell's history
    #[arg(value_name = "ANSWER")]
    answer: Option<String>,
    /// The answer is a text, even if it looks like an option
    #[arg(long)]
    text: bool,
}

/// Shows what is open.
pub(crate) async fn list(client: &Client, output: &Output, instance: InstanceId) -> Result<(), Failure> {
    let list = fetch(client, instance).await?;
    if output.is_json() {
        return output.json(&list);
    }
    let row = |ask: &OpenAsk| {
        let (what, choices) = match &ask.ask {
            Ask::Question(question) => {
                let options = (1..).zip(&question.options).map(|(number, option)| format!("{number} {}", option.label));
                let own =
                    question.takes_text().then(|| if question.is_secret { "a secret" } else { "a text" }.to_owned());
                (question.text.clone(), options.chain(own).collect::<Vec<_>>().join(" | "))
            }
            Ask::Permission(permission) => {
                (request(permission), "accept | accept-for-session | decline | cancel".to_owned())
            }
        };
        let asked = moment(ask.asked_at) + if ask.again { " (again)" } else { "" };
        [ask.request_id.clone(), asked, what, choices]
    };
    let rows: Vec<_> = list.asks.iter().map(row).collect();
    output.table(["request", "asked", "what", "answers"], &rows, "nothing is asked")
}

async fn fetch(client: &Client, instance: InstanceId) -> Result<AskList, Failure> {
    client.get(&["instances", &instance.to_string(), "asks"]).await
}

impl Given {
    /// Gives the answer; says so when it was the first.
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let list = fetch(client, self.instance).await?;
        let ask = list.asks.into_iter().find(|ask| ask.request_id == self.request).map(|ask| ask.ask);
        let secret = matches!(&ask, Some(Ask::Question(question)) if question.is_secret);
        let line = match self.answer.filter(|answer| answer != "-") {
            Some(answer) => answer,
            None => read_answer(secret).await?,
        };
        let instance = self.instance.to_string();
        let request_id = self.request.clone();
        let sent = match ask {
            Some(Ask::Permission(_)) => {
                let decision = decision(&line).map_err(Failure::usage)?;
                let path = ["instances", &instance, "approve"];
                client.api(Method::POST, &path)?.json(&GivenDecision { request_id, decision })
            }
            asked => {
                let answer = match asked {
                    Some(Ask::Question(question)) if !self.text => answer(&question, &line).map_err(Failure::usage)?,
                    // Where nothing is open under this name the server says what became of it.
                    _ => Answer::Text(line),
                };
                let path = ["instances", &instance, "answer"];
                client.api(Method::POST, &path)?.json(&GivenAnswer { request_id, answer })
            }
        };
        client.send(sent, QUICK).await?;
        if output.is_json() {
            return output.json(&json!({ "request_id": self.request, "outcome": "answered" }));
        }
        note(&format!("answered {}", self.request));
        Ok(())
    }
}

/// One line of stdin, unseen when it is a secret.
async fn read_answer(secret: bool) -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        note(if secret { "the answer (not shown):" } else { "the answer:" });
    }
    let mut echo = Echo::default();
    echo.hide(secret);
    let line = podium_kit::spawn::blocking(read_line).await;
    echo.hide(false);
    line.ok().flatten().ok_or_else(|| Failure::usage("no answer was given"))
}
