//! Snapshots in a bucket of S3 or of a service that speaks its protocol.
//!
//! A snapshot is uploaded in parts while it is made, and its checksum as an object beside it when it is whole. Keys are
//! those of the folders (see `store`).

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::sync::mpsc;

use super::store::{CHECKSUM_SUFFIX, Shelf, is_name};
use super::{SnapshotBody, SnapshotDescription, SnapshotError};
use crate::service::Error;

/// S3 takes 10,000 parts: enough for 160 GB.
const PART_BYTES: usize = 16 << 20;
/// Parts on their way at once; each is held in memory.
const PARTS_AT_ONCE_MAX: usize = 2;
/// Checksums of a list that are fetched at once.
const CHECKSUMS_AT_ONCE_MAX: usize = 8;
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Without a byte for so long a request has failed.
const READ_MAX: Duration = Duration::from_secs(60);

/// Which bucket, and how it is reached.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields name themselves")]
pub struct S3Settings {
    pub bucket: String,
    pub region: Option<String>,
    /// Absent, as the secret key: the machine's own role is asked for.
    pub access_key: Option<String>,
    pub secret_key: Option<String>,
    /// Absent: that of AWS. Begins with `http://` or `https://`.
    pub endpoint_url: Option<String>,
}

/// The secret stays out of logs.
impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("access_key", &self.access_key)
            .field("endpoint_url", &self.endpoint_url)
            .finish_non_exhaustive()
    }
}

/// A bucket. Nothing is asked of it before it is used.
pub(super) struct Bucket {
    name: String,
    store: AmazonS3,
}

impl Bucket {
    pub(super) fn open(settings: &S3Settings) -> object_store::Result<Bucket> {
        let client =
            ClientOptions::new().with_connect_timeout(CONNECT_MAX).with_timeout_disabled().with_read_timeout(READ_MAX);
        let mut builder = AmazonS3Builder::new().with_client_options(client).with_bucket_name(&settings.bucket);
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        if let Some(key) = &settings.access_key {
            builder = builder.with_access_key_id(key);
        }
        if let Some(key) = &settings.secret_key {
            builder = builder.with_secret_access_key(key);
        }
        if let Some(endpoint) = &settings.endpoint_url {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        Ok(Bucket { name: settings.bucket.clone(), store: builder.build()? })
    }

    /// The key in `s3://BUCKET/KEY`, if the bucket is this one.
    pub(super) fn key_of_address<'a>(&self, address: &'a str) -> Option<&'a str> {
        address.strip_prefix("s3://")?.strip_prefix(self.name.as_str())?.strip_prefix('/')
    }

    /// Uploads the pieces; they are a snapshot once `checksum` says so.
    pub(super) async fn save(
        &self,
        shelf: &Shelf,
        name: &str,
        chunks: &mut mpsc::Receiver<Vec<u8>>,
        checksum: impl Future<Output = Result<String, Error>>,
    ) -> Result<SnapshotDescription, Error> {
        let path = key(shelf, name).ok_or_else(|| Error::SnapshotFailed { why: format!("{name} is no key") })?;
        let upload = self.store.put_multipart(&path).await.map_err(SnapshotError::from)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let sent = async {
            while let Some(chunk) = chunks.recv().await {
                upload.wait_for_capacity(PARTS_AT_ONCE_MAX).await.map_err(SnapshotError::from)?;
                upload.write(&chunk);
            }
            checksum.await
        };
        let checksum = match sent.await {
            Ok(checksum) => checksum,
            Err(error) => {
                // Parts that stay cost money; the bucket's own rules are the last resort.
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "parts of an upload that failed may be left in the bucket");
                }
                return Err(error);
            }
        };
        upload.finish().await.map_err(SnapshotError::from)?;
        let beside = checksum_key(&path).map_err(SnapshotError::from)?;
        self.store.put(&beside, checksum.clone().into()).await.map_err(SnapshotError::from)?;
        let found = self.store.head(&path).await.map_err(SnapshotError::from)?;
        Ok(described(name.to_owned(), &found, Some(checksum)))
    }

    pub(super) async fn list(&self, shelf: &Shelf) -> Result<Vec<SnapshotDescription>, SnapshotError> {
        let listed = self.store.list_with_delimiter(Some(&prefix(shelf))).await?;
        let snapshots = listed.objects.into_iter().filter_map(|object| {
            let name = object.location.filename().filter(|name| is_name(name))?.to_owned();
            Some(async move {
                let checksum = self.checksum(&object.location).await;
                described(name, &object, checksum)
            })
        });
        let mut found: Vec<SnapshotDescription> =
            futures::stream::iter(snapshots).buffered(CHECKSUMS_AT_ONCE_MAX).collect().await;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// `None`: there is none, or none that can be read; the snapshot is listed without it.
    async fn checksum(&self, path: &Path) -> Option<String> {
        let bytes = self.store.get(&checksum_key(path).ok()?).await.ok()?.bytes().await.ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// False: there is none of this name.
    pub(super) async fn delete(&self, shelf: &Shelf, name: &str) -> Result<bool, SnapshotError> {
        let Some(path) = key(shelf, name) else { return Ok(false) };
        // S3 deletes what is not there without complaint.
        if found(self.store.head(&path).await)?.is_none() {
            return Ok(false);
        }
        self.store.delete(&path).await?;
        found(self.store.delete(&checksum_key(&path)?).await)?;
        Ok(true)
    }

    pub(super) async fn open_one(&self, shelf: &Shelf, name: &str) -> Result<Option<SnapshotBody>, SnapshotError> {
        let Some(path) = key(shelf, name) else { return Ok(None) };
        let Some(object) = found(self.store.get(&path).await)? else { return Ok(None) };
        let size = Some(object.meta.size);
        Ok(Some(SnapshotBody { name: name.to_owned(), size, chunks: pieces(object) }))
    }

    /// The object's bytes; `None`: there is none of this key.
    pub(super) async fn chunks(
        &self,
        key: &str,
    ) -> Result<Option<BoxStream<'static, io::Result<Vec<u8>>>>, SnapshotError> {
        let Ok(path) = Path::parse(key) else { return Ok(None) };
        Ok(found(self.store.get(&path).await)?.map(pieces))
    }
}

fn pieces(object: object_store::GetResult) -> BoxStream<'static, io::Result<Vec<u8>>> {
    object.into_stream().map_ok(Vec::from).map_err(io::Error::other).boxed()
}

/// `None`: what was asked for is not there.
fn found<T>(outcome: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn prefix(shelf: &Shelf) -> Path {
    shelf.way.iter().map(String::as_str).collect()
}

/// `None`: the name is none of a snapshot, or no key's.
fn key(shelf: &Shelf, name: &str) -> Option<Path> {
    let prefix = prefix(shelf);
    let key = if shelf.way.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    Path::parse(key).ok().filter(|_| is_name(name))
}

fn checksum_key(path: &Path) -> object_store::Result<Path> {
    Ok(Path::parse(format!("{path}{CHECKSUM_SUFFIX}"))?)
}

fn described(name: String, object: &ObjectMeta, checksum: Option<String>) -> SnapshotDescription {
    SnapshotDescription { name, created_at: Some(object.last_modified.into()), size: object.size, checksum }
}
