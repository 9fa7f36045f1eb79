//! An honest agent beside one that means harm: it must be served all the while.
//!
//! Asks for answers, never for their speed: that is the benchmark's.

use podium_wire::InstanceId;

use crate::Client;

/// An instance of `hello` that somebody talks to.
pub struct Neighbour {
    client: Client,
    id: InstanceId,
}

impl Neighbour {
    /// Deploys it beside the others of this host.
    pub async fn of(client: &Client) -> Self {
        Self { client: client.clone(), id: client.deployed_instance("hello").await }
    }

    /// Its turns and the host's health are answered.
    pub async fn is_served(&self) {
        for _ in 0..3 {
            assert!(self.client.reply(self.id, "are you well").await.contains("are you well"));
            assert_eq!(self.client.get("/health").await.status, 200);
        }
    }

    /// The same while something else goes on; answers what that came to.
    pub async fn meanwhile<T>(&self, other: impl Future<Output = T>) -> T {
        let (done, ()) = tokio::join!(other, self.is_served());
        done
    }
}
