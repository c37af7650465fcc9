//! Where requests are turned into the model: a small one on the worker that reads it, a large one off the async
//! workers. Checking numbers costs little, but tokenizing texts takes about 80 ms per MB, and nothing else would run
//! on that worker meanwhile.

use super::checks::{Checked, Findings};
use super::inference::Tokens;
use super::status::ApiError;

/// Requests above this are converted on a blocking thread: up to here it takes 5 ms at most.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// The converted request, and what computing its vectors took; or the one error that says all that is wrong with it.
/// `bytes`: the request's size. `place`: as [`Findings::finish`] has it.
pub async fn converted<T: Send + 'static>(
    bytes: usize,
    place: &'static str,
    convert: impl FnOnce(&mut Findings) -> Checked<T> + Send + 'static,
) -> Result<(T, Tokens), ApiError> {
    let convert = move || {
        let mut found = Findings::new();
        let value = convert(&mut found);
        let tokens = found.models().take_tokens();
        found.finish(place, value).map(|value| (value, tokens))
    };
    if bytes <= INLINE_BYTES_MAX {
        return convert();
    }
    match tokio::task::spawn_blocking(convert).await {
        Ok(converted) => converted,
        Err(error) => Err(ApiError::internal(format_args!("the request could not be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_requests_are_converted_off_the_workers() {
        let here = std::thread::current().id();
        let thread = |_: &mut Findings| Ok(std::thread::current().id());
        let (small, _) = converted(INLINE_BYTES_MAX, "body", thread).await.unwrap();
        let (large, _) = converted(INLINE_BYTES_MAX + 1, "body", thread).await.unwrap();
        assert_eq!(small, here);
        assert_ne!(large, here);
    }

    #[tokio::test]
    async fn errors_come_back_from_either_place() {
        for bytes in [0, usize::MAX] {
            let refused = converted(bytes, "JSON body", |found| found.malformed::<()>("wrong")).await;
            assert_eq!(refused.unwrap_err().text, "Format error in JSON body: wrong");
        }
    }
}
