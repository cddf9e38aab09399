//! How messages reach peers: send and forget.

/// One Raft message, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Raft id of the sender.
    pub from: u64,
    /// Raft id of the receiver.
    pub to: u64,
    /// The encoded message.
    pub body: Vec<u8>,
}

/// May lose messages, never blocks.
pub trait Transport: Send + 'static {
    /// Sends.
    fn send(&mut self, messages: Vec<Message>);
}

/// The transport of a group of one: there is nobody to send to.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn send(&mut self, _messages: Vec<Message>) {}
}
