//! What was dropped, refused or repeated, each under its own name.

macro_rules! counts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A thing that is counted.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Count {
            $($(#[$doc])* $variant,)*
        }

        impl Count {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counts! {
    /// A link message whose frame or body is malformed.
    Malformed = "malformed",
    /// A link message longer than its kind allows.
    Oversized = "oversized",
    /// A link message of a kind that this version doesn't have.
    UnknownKind = "unknown_kind",
    /// A peer that speaks no version of ours.
    UnknownLinkVersion = "unknown_link_version",
    /// A message before HELLO, or a second HELLO.
    OutOfOrder = "out_of_order",
    /// A HELLO whose link key isn't the handshake's.
    ForgedHello = "forged_hello",
    /// A link whose HELLO didn't come in time.
    HelloTimeout = "hello_timeout",
    /// A link that fell silent.
    Dead = "dead",
    /// A second link to the same peer, or a link to this node itself.
    DuplicateLink = "duplicate_link",
    /// An envelope of a size that there isn't.
    EnvelopeSize = "envelope_bad_size",
    /// An envelope of an unknown version.
    EnvelopeVersion = "envelope_unknown_version",
    /// An envelope with an unknown flag.
    EnvelopeFlags = "envelope_unknown_flags",
    /// An envelope whose `work` isn't zero.
    EnvelopeWork = "envelope_bad_work",
    /// An envelope that has expired.
    EnvelopeExpired = "envelope_expired",
    /// An envelope that expires too late.
    EnvelopeFromFuture = "envelope_from_future",
    /// An envelope that has been here.
    Duplicate = "duplicate",
    /// A false positive of the dedup filter, mended by the exact store.
    FalsePositive = "false_positive",
    /// An envelope left to reconciliation: too many wait for the exact store.
    PendingFull = "pending_full",
    /// An envelope left to reconciliation: the link brought too many new bytes.
    RateLimited = "rate_limited",
    /// A frame that a full link didn't take: left to reconciliation.
    LinkFull = "link_full",
    /// A peer record that is malformed, forged or out of date.
    BadRecord = "bad_record",
    /// A peer record past the rate that is accepted.
    RecordRate = "record_rate",
    /// A peer record of an address that isn't dialled.
    RecordAddress = "record_address",
    /// An envelope that came as if asked for, and wasn't.
    ItemUnasked = "item_unasked",
    /// An envelope of a session that has ended.
    ItemLate = "item_late",
    /// A reconciliation message that makes no sense in its session.
    ReconProtocol = "recon_protocol",
    /// A reconciliation that was refused.
    ReconRefused = "recon_refused",
    /// A reconciliation that fell silent.
    ReconTimeout = "recon_timeout",
    /// An envelope that a peer claimed to have and didn't serve.
    ReconUnserved = "recon_unserved",
    /// Envelopes accepted live.
    AcceptedLive = "accepted_live",
    /// Envelopes accepted because they were asked for.
    AcceptedSynced = "accepted_synced",
    /// Full copies sent.
    Relayed = "relayed",
}

/// The counts of one engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters([u64; Count::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; Count::ALL.len()])
    }
}

impl Counters {
    pub(super) fn add(&mut self, count: Count) {
        self.0[count as usize] += 1;
    }

    pub(super) fn add_many(&mut self, count: Count, n: u64) {
        self.0[count as usize] += n;
    }

    /// One count.
    #[must_use]
    pub const fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    /// Every count with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Count::ALL.iter().map(|count| (count.name(), self.get(*count)))
    }
}
