//! A JSON object, written member by member.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::text::{put_escaped, put_string};
use super::time::{put_millis, put_number, put_seconds, put_time};

/// Writes `{"name":value,…}`. Names are our own, and need no escaping.
#[derive(Debug)]
pub(in super::super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    pub(in super::super) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// What `fill` puts, without the braces.
    pub(super) fn only_members(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        let mut object = Object {
            out: &mut out,
            empty: true,
        };
        fill(&mut object);
        out
    }

    /// Members that have been written before.
    #[inline]
    pub(super) fn members(&mut self, members: &[u8]) {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(members);
    }

    pub(in super::super) fn close(self) {
        self.out.push(b'}');
    }

    // Where the name is known it is copied in a step, not by a call.
    #[inline(always)]
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        match std::mem::replace(&mut self.empty, false) {
            true => self.out.push(b'"'),
            false => self.out.extend_from_slice(b",\""),
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    #[inline]
    pub(in super::super) fn text(&mut self, name: &str, text: impl AsRef<[u8]>) {
        put_string(text.as_ref(), self.name(name));
    }

    /// A word of ours, which needs no escaping.
    #[inline]
    pub(in super::super) fn word(&mut self, name: &str, word: &str) {
        let out = self.name(name);
        out.push(b'"');
        out.extend_from_slice(word.as_bytes());
        out.push(b'"');
    }

    /// A text that is there.
    #[inline]
    pub(in super::super) fn some(&mut self, name: &str, text: Option<impl AsRef<[u8]>>) {
        if let Some(text) = text.filter(|t| !t.as_ref().is_empty()) {
            self.text(name, text);
        }
    }

    #[inline]
    pub(in super::super) fn number(&mut self, name: &str, number: u64) {
        put_number(number, self.name(name));
    }

    /// A number as a string, as protobuf's JSON has those of 64 bits.
    #[inline]
    pub(in super::super) fn long(&mut self, name: &str, number: u64) {
        let out = self.name(name);
        out.push(b'"');
        put_number(number, out);
        out.push(b'"');
    }

    #[inline]
    pub(in super::super) fn bool(&mut self, name: &str, value: bool) {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.name(name).extend_from_slice(text);
    }

    #[inline]
    pub(in super::super) fn millis(&mut self, name: &str, time: Duration) {
        put_millis(time, self.name(name));
    }

    /// `"0.001234s"`
    #[inline]
    pub(in super::super) fn seconds(&mut self, name: &str, time: Duration) {
        let out = self.name(name);
        out.push(b'"');
        put_seconds(time, out);
        out.extend_from_slice(b"s\"");
    }

    #[inline]
    pub(in super::super) fn address(&mut self, name: &str, address: IpAddr) {
        let out = self.name(name);
        out.push(b'"');
        put_address(address, out);
        out.push(b'"');
    }

    /// What `write` puts, as a string that needs no escaping.
    #[inline]
    pub(in super::super) fn plain(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let out = self.name(name);
        out.push(b'"');
        write(out);
        out.push(b'"');
    }

    /// A string of parts, each escaped.
    pub(in super::super) fn parts(&mut self, name: &str, parts: &[&[u8]]) {
        let out = self.name(name);
        out.push(b'"');
        for part in parts {
            put_escaped(part, out);
        }
        out.push(b'"');
    }

    pub(in super::super) fn time(&mut self, name: &str, time: SystemTime) {
        self.plain(name, |out| put_time(time, out));
    }

    /// A value that shows itself.
    pub(in super::super) fn shown(&mut self, name: &str, value: &dyn std::fmt::Display) {
        let mut text = String::new();
        // Writing to a String doesn't fail.
        _ = write!(text, "{value}");
        self.text(name, text);
    }

    /// An object inside.
    pub(in super::super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        let mut inner = Object::open(self.name(name));
        fill(&mut inner);
        inner.close();
    }
}

pub(super) fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    match address.to_canonical() {
        // Without a formatter: nearly all are such.
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            put_number(u64::from(first), out);
            for octet in rest {
                out.push(b'.');
                put_number(u64::from(octet), out);
            }
        }
        // Writing to a Vec doesn't fail.
        IpAddr::V6(address) => _ = write!(out, "{address}"),
    }
}
