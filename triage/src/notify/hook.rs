//! What chats with an incoming webhook have in common: the address is the secret, and one POST of JSON says everything.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde_json::Value;

use super::address::Address;
use super::config::ConfigError;
use super::destination::{Attempt, Destination, Failure, Parcel, Receipt, Repeat};
use super::http::{Http, Reply, Request};
use super::secret::SecretSource;

/// How one chat takes a message, and what its answers mean.
pub trait Chat: fmt::Debug + Send + Sync + 'static {
    /// The kind as the configuration names it.
    const KIND: &'static str;
    /// Name of the address in messages.
    const KEY: &'static str;
    /// What it makes of the same key sent twice.
    const REPEAT: Repeat = Repeat::Visible;

    /// What is added to the address.
    fn query<'a>(_parcel: &Parcel<'a>) -> Vec<(&'static str, &'a str)> {
        Vec::new()
    }

    /// The message, within the limits of the chat.
    fn body(parcel: &Parcel<'_>) -> Value;

    /// What a reply means.
    ///
    /// # Errors
    /// It means that the message is not there.
    fn judge(reply: &Reply) -> Result<Receipt, Failure>;
}

/// `slack = { webhook = { env = "…" } }`, and likewise the others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub struct Hook<C> {
    /// Address of the incoming webhook; it is a secret as a whole.
    pub webhook: SecretSource,
    #[serde(skip)]
    chat: PhantomData<C>,
}

impl<C> Hook<C> {
    /// A chat behind this address.
    #[must_use]
    pub fn at(webhook: SecretSource) -> Self {
        Hook {
            webhook,
            chat: PhantomData,
        }
    }
}

impl<C: Chat> Destination for Hook<C> {
    fn kind(&self) -> &'static str {
        C::KIND
    }

    fn repeat(&self) -> Repeat {
        C::REPEAT
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::read(&self.webhook, C::KEY)
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.address()?;
        Ok(self.webhook.warning(C::KEY).into_iter().collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let address = self.address()?.with_query(&C::query(parcel));
            let body = C::body(parcel).to_string().into_bytes();
            let request = Request::post(address, body);
            C::judge(&http.exchange(request, parcel.now).await?)
        })
    }
}
