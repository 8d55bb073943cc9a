//! What happened how often, by name.

macro_rules! counters {
    ($($name:ident: $doc:literal,)*) => {
        /// Counts since the engine's start. Everything that is dropped or refused counts under exactly one name.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Counters {
            /// Every counter, by name, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            /// Adds another engine's counts.
            #[cfg(feature = "sim")]
            pub(super) const fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Takes earlier counts off.
            #[cfg(feature = "sim")]
            pub(super) const fn subtract(&mut self, earlier: &Self) {
                $(self.$name -= earlier.$name;)*
            }
        }
    };
}

counters! {
    published: "Own envelopes given to the flood.",
    accepted: "Live envelopes that were new.",
    relayed: "Copies sent on to other links.",
    relay_refused: "Live envelopes that a filter of this node's user kept from being passed on.",
    relay_unasked: "Live envelopes passed on without asking that filter, since too many waited for it.",
    duplicate: "Live envelopes that had been here. No fault.",
    asked: "Ids that the exact store was asked about.",
    asked_known: "Of these, known: duplicates.",
    expired: "Envelopes past their expiry. No fault of who carries them.",
    from_future: "Envelopes that expire later than any honest clock allows. No fault of who carries them.",
    bad_size: "Envelopes of a size that there isn't. Closes the link.",
    unknown_version: "Envelopes of an unknown version. Closes the link.",
    bad_flags: "Envelopes with unknown flags. Closes the link.",
    bad_work: "Envelopes with a work that isn't zero. Closes the link.",
    bad_publish: "Own envelopes that aren't well-formed or not within their time.",
    malformed: "Link messages that are malformed. Closes the link.",
    oversized: "Link messages that are longer than their kind may be. Closes the link.",
    unknown_kind: "Link messages of an unknown kind. Closes the link.",
    no_hello: "Links on which something else came before HELLO. Closes the link.",
    second_hello: "Links on which HELLO came twice. Closes the link.",
    hello_timeout: "Links on which HELLO didn't come in time.",
    hello_version: "Links that share no protocol version with this build.",
    hello_key: "HELLOs with a link key that isn't the handshake's. Closes the link.",
    self_link: "Links of this node to itself.",
    duplicate_link: "Links closed for another one to the same peer.",
    too_many_links: "Incoming links over the limit.",
    dead_link: "Links closed after silence.",
    link_full: "Frames that a full queue refused.",
    held_back: "Rumors not sent to links that are behind.",
    over_rate: "Live envelopes put off to reconciliation because their link was over its rate of new bytes.",
    pending_full: "Live envelopes put off to reconciliation because too many of their link wait for the store.",
    unasked_announcement: "Announcements to a node that floods, and those of version 1. No effect.",
    announced: "Envelopes announced to a link in place of a full copy.",
    prunes_sent: "Full copies that this node told their sender were too many.",
    pruned: "Pairs of links that became lazy: what comes by the one is only announced on the other.",
    grafts_sent: "Envelopes of which this node told an announcer that a full copy was lacking.",
    grafted: "Lazy pairs of links that became eager again.",
    grafted_all: "Times that a peer wanted everything in full.",
    fell_back: "Times that this node wanted everything in full, since too much came late.",
    iwant_sent: "Announced envelopes asked for, each request counted.",
    pulled: "Live envelopes that came because they were asked for.",
    pull_failed: "Announced envelopes that none of their announcers served. Repaired.",
    waits_full: "Announcements put off to reconciliation because too many of their link are waited for.",
    iwant_served: "Announced envelopes served.",
    iwant_void: "Requests for what was never announced, is no longer kept, or was served before. No fault.",
    iwant_limited: "Requests not served because their link was over its rate or behind. No fault of it.",
    chaff: "CHAFF received.",
    dials: "Dials started.",
    dial_failed: "Dials that came to nothing.",
    dial_limited: "Dials put off because the address was dialled a short while ago.",
    peer_record_over_rate: "Peer records not looked at because their link sent too many.",
    peer_record_malformed: "Peer records that are malformed.",
    peer_record_forged: "Peer records with a wrong signature. Closes the link.",
    peer_record_stale: "Peer records from too long ago, or from the future.",
    peer_record_refused: "Peer records whose address this node doesn't dial.",
    peer_record_full: "Peer records for which the address book had no room.",
    peer_record_new: "Peer records taken into the address book.",
    peers_sent: "Peer records sent.",
    recon_started: "Reconciliations started by this node.",
    recon_served: "Reconciliations that a peer started and this node took part in.",
    recon_declined: "Reconciliations that this node declined.",
    recon_refused: "Reconciliations that a peer declined.",
    recon_failed: "Reconciliations that failed or fell silent.",
    recon_fault: "Reconciliations in which the peer did what an honest one doesn't. Closes the link.",
    recon_fruitless: "Reconciliations that found a difference and brought nothing: say because the peer doesn't serve what it has.",
    recon_old_peer: "Links to peers whose version can't be reconciled with.",
    recon_stray: "Messages of reconciliations that aren't under way (any more). No fault.",
    item_sent: "Envelopes served because they were asked for.",
    item_accepted: "Envelopes received because they were asked for.",
    item_known: "Of these, ones that had come by another way meanwhile.",
    item_expired: "Of these, ones outside of their time.",
    item_missing: "Envelopes that a peer claimed to have and didn't serve.",
}
