//! `weft gateway`: a gateway alone, those that there are, and the keys of their callers.

use gateway::auth::key;
use gateway::command::{self, GatewayArgs};
use protocol::Owner;
use runtime::config::ROLE_CALLER;

use crate::failure::Failure;
use crate::print::{Format, Printer, gateways};
use crate::session::{ClientArgs, OutputArgs, Session};

/// Run a gateway: A2A over JSON-RPC, HTTP+JSON and gRPC, and plain REST, in front of the mesh
///
/// Any number may run at once; a client that loses one goes on with another.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Gateway {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    args: GatewayArgs,
}

#[derive(clap::Subcommand)]
enum Action {
    List(Box<List>),
    Key(Key),
}

/// List the gateways of the mesh: where they listen, how many clients they have, last seen
#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    client: ClientArgs,
}

/// Make an API key, and the lines of weft.toml that let its bearer in
///
/// The key is shown once and kept nowhere: the lines have its hash. Needs no server.
#[derive(clap::Args)]
struct Key {
    /// Who gets it, as the audit will name them
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Whose tasks they see and make
    #[arg(long, default_value_t)]
    owner: Owner,
    /// What they may do: a role of the file, or caller, which is everything for their own owner
    #[arg(long, default_value = ROLE_CALLER)]
    role: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Gateway {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            None => Ok(command::run(self.args).await?),
            Some(Action::Key(key)) => key.run(),
            Some(Action::List(list)) => {
                let Session { client, mut printer, .. } = Session::open(&list.client).await?;
                Ok(gateways::list(&mut printer, &client.gateways().await?)?)
            }
        }
    }
}

impl Key {
    fn run(self) -> Result<(), Failure> {
        let key = key::new_key();
        let lines = lines(&self, &key::hex(key::hash_of(&key)));
        let mut printer = Printer::stdout(self.output.output);
        let made = serde_json::json!({ "key": key, "settings": lines });
        match printer.format() {
            Format::Json => return Ok(printer.json(&made)?),
            Format::Jsonl => return Ok(printer.json_line(&made)?),
            Format::Table => {}
        }
        // On the other channel than the lines, which people append to their file.
        printer.note(&format!("the key, for {}; it is not shown again:\n{key}", self.name));
        printer.note("the lines for weft.toml; they have the hash of the key alone:");
        Ok(printer.line(&lines)?)
    }
}

fn lines(key: &Key, hash: &str) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let (name, owner, role) = (text(&key.name), text(key.owner.as_str()), text(&key.role));
    format!("[[gateway.keys]]\nname = {name}\nsha256 = \"{hash}\"\nowner = {owner}\nrole = {role}")
}
