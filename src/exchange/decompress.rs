//! Request bodies in a content coding: unpacked before they are read, with a limit on what comes out.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::client_body::too_large;
use crate::failure::{Failure, Limit};
use crate::limits::{ByteLimit, UNPACKED_RATIO_MAX, WORK_SLICE_BYTES, ZSTD_WINDOW_BITS_MAX};

use super::holding::Holding;

/// What a client may send a body in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packed {
    No,
    Gzip,
    /// zlib's format, as RFC 9110 has it.
    Deflate,
    Br,
    Zstd,
}

impl Packed {
    /// # Errors
    /// 415 for a coding that we don't read, or more than one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return match headers.contains_key(CONTENT_ENCODING) {
                true => Err(unknown(&HeaderValue::from_static("several codings"))),
                false => Ok(Self::No),
            };
        };
        let name = value.to_str().unwrap_or_default().trim();
        Ok(match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Self::No,
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "br" => Self::Br,
            "zstd" => Self::Zstd,
            _ => return Err(unknown(value)),
        })
    }

    /// The content, at most `max` bytes of it and at most [`UNPACKED_RATIO_MAX`] times what came.
    ///
    /// # Errors
    /// 413 for more; 400 for what is not of the coding, or ends too soon.
    pub(super) async fn unpack(
        self,
        packed: Bytes,
        max: ByteLimit,
        into: &mut Holding,
    ) -> Result<Bytes, Failure> {
        if self == Self::No || packed.is_empty() {
            return Ok(packed);
        }
        let by_ratio = packed.len().saturating_mul(UNPACKED_RATIO_MAX);
        let limit = max.bytes().min(by_ratio.max(WORK_SLICE_BYTES));
        let mut reader = self.reader(&*packed).map_err(broken)?;
        let mut content = Vec::new();
        loop {
            // One byte past the limit tells that there is more.
            let room = limit.saturating_add(1).saturating_sub(content.len());
            let slice = room.min(WORK_SLICE_BYTES) as u64;
            let read = (&mut reader).take(slice).read_to_end(&mut content);
            let read = read.map_err(broken)?;
            if content.len() > limit {
                tracing::debug!(limit, packed = packed.len(), "a packed body is too large");
                return Err(too_large(limit).over(Limit::Unpacked));
            }
            if read == 0 {
                return into.seal(content.into());
            }
            into.cover(content.len())?;
            tokio::task::yield_now().await;
        }
    }

    /// Reads what `packed` unpacks to.
    pub(super) fn reader<'b>(self, packed: impl BufRead + 'b) -> io::Result<Box<dyn Read + 'b>> {
        const BR_BUFFER_BYTES: usize = 4096;
        Ok(match self {
            Self::No => Box::new(packed),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Deflate => Box::new(flate2::bufread::ZlibDecoder::new(packed)),
            Self::Br => Box::new(brotli::Decompressor::new(packed, BR_BUFFER_BYTES)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_BITS_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

fn unknown(value: &HeaderValue) -> Failure {
    let named = String::from_utf8_lossy(value.as_bytes());
    Failure::client(format!(
        "the request body's coding {named:?} is not read here: gzip, deflate, br or zstd is"
    ))
    .status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

pub(super) fn broken(error: io::Error) -> Failure {
    Failure::client("the request body is not in the coding that `Content-Encoding` names")
        .caused_by(error)
}

#[cfg(test)]
impl Packed {
    pub(super) fn pack(self, content: &[u8]) -> Bytes {
        let [mut whole, rest] = self.pack_flushed([content, &[]]);
        whole.extend_from_slice(&rest);
        whole.into()
    }

    /// Both pieces, the first flushed before the second is written.
    pub(super) fn pack_flushed(self, [first, second]: [&[u8]; 2]) -> [Vec<u8>; 2] {
        use std::io::Write;

        macro_rules! pack {
            ($out:expr, $taken:expr, $finish:expr) => {{
                let mut out = $out;
                out.write_all(first).unwrap();
                out.flush().unwrap();
                let taken = std::mem::take($taken(&mut out));
                out.write_all(second).unwrap();
                [taken, $finish(out)]
            }};
        }
        match self {
            Self::No => [first.to_vec(), second.to_vec()],
            Self::Gzip => pack!(
                flate2::write::GzEncoder::new(Vec::new(), Default::default()),
                flate2::write::GzEncoder::get_mut,
                |out: flate2::write::GzEncoder<Vec<u8>>| out.finish().unwrap()
            ),
            Self::Deflate => pack!(
                flate2::write::ZlibEncoder::new(Vec::new(), Default::default()),
                flate2::write::ZlibEncoder::get_mut,
                |out: flate2::write::ZlibEncoder<Vec<u8>>| out.finish().unwrap()
            ),
            Self::Br => pack!(
                brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22),
                brotli::CompressorWriter::get_mut,
                brotli::CompressorWriter::into_inner
            ),
            Self::Zstd => pack!(
                zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap(),
                zstd::stream::write::Encoder::get_mut,
                |out: zstd::stream::write::Encoder<'static, Vec<u8>>| out.finish().unwrap()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Packed; 4] = [Packed::Gzip, Packed::Deflate, Packed::Br, Packed::Zstd];

    #[tokio::test]
    async fn what_was_packed_comes_out() {
        let content: Vec<u8> = (0..50_000_u32)
            .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
            .collect();
        for coding in ALL {
            let packed = coding.pack(&content);
            let max = ByteLimit::new(content.len()).unwrap();
            let unpacked = coding
                .unpack(packed.clone(), max, &mut Holding::of_request(None))
                .await
                .unwrap();
            assert!(unpacked == content, "{coding:?}");
            let less = ByteLimit::new(content.len() - 1).unwrap();
            let refused = coding
                .unpack(packed.clone(), less, &mut Holding::of_request(None))
                .await
                .unwrap_err();
            assert_eq!(refused.http_status(), 413, "{coding:?}");
            let cut = Bytes::copy_from_slice(&packed[..packed.len() / 2]);
            let broken = coding
                .unpack(cut, max, &mut Holding::of_request(None))
                .await
                .unwrap_err();
            assert_eq!(broken.http_status(), 400, "{coding:?}");
        }
    }

    #[tokio::test]
    async fn bombs_are_refused_long_before_the_limit() {
        for coding in ALL {
            let bomb = coding.pack(&vec![0; 8 * 1024 * 1024]);
            let max = ByteLimit::kib(1024 * 1024);
            let refused = coding
                .unpack(bomb, max, &mut Holding::of_request(None))
                .await
                .unwrap_err();
            assert_eq!(refused.http_status(), 413, "{coding:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_of_the_coding_is_refused() {
        for coding in ALL {
            let max = ByteLimit::kib(64);
            for junk in [
                &b"{}"[..],
                b"\x1f\x8b",
                b"(\xb5/\xfd",
                b"\xff\xff\xff\xff\xff",
            ] {
                let junk = Bytes::from_static(junk);
                let refused = coding
                    .unpack(junk, max, &mut Holding::of_request(None))
                    .await
                    .unwrap_err();
                assert_eq!(refused.http_status(), 400, "{coding:?}");
            }
        }
    }
}
