//! Reading an answer's body, with a limit.

/// Why a body was not read to its end.
pub(crate) enum ReadError {
    /// It is longer than allowed.
    TooLarge { received: usize },
    /// The connection or the time limit ended it.
    Broken { error: reqwest::Error, received: usize },
}

/// Reads the body, giving up as soon as it is, or says that it will be, longer than `limit` bytes.
pub(crate) async fn read_body(response: &mut reqwest::Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    let announced = response.content_length().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > limit) {
        return Err(ReadError::TooLarge { received: 0 });
    }
    // The first chunk is usually the whole body; a liar's announcement costs no memory.
    let mut body = Vec::with_capacity(announced.unwrap_or(0).min(16 * 1024));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                return Err(ReadError::TooLarge { received: body.len() + chunk.len() });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(ReadError::Broken { error, received: body.len() }),
        }
    }
}
