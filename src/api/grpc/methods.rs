//! Every method of the interface: what it needs a key for, and whether it is built.

use crate::api::auth::Access::{self, Open, Read, Write};

/// One method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    /// `/package.Service/Name`, as requests name it.
    pub(super) path: &'static str,
    pub(super) access: Access,
    /// What is not built is answered with UNIMPLEMENTED and its name.
    pub(super) is_built: bool,
}

/// The methods of our services.
pub(super) const METHODS: &[Method] = &[
    built("/grpc.health.v1.Health/Check", Open),
    built("/grpc.health.v1.Health/Watch", Open),
    built("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Read),
    built("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Read),
    built("/qdrant.Qdrant/HealthCheck", Open),
    built("/qdrant.Collections/Get", Read),
    built("/qdrant.Collections/List", Read),
    built("/qdrant.Collections/Create", Write),
    built("/qdrant.Collections/Update", Write),
    built("/qdrant.Collections/Delete", Write),
    built("/qdrant.Collections/UpdateAliases", Write),
    built("/qdrant.Collections/ListCollectionAliases", Read),
    built("/qdrant.Collections/ListAliases", Read),
    built("/qdrant.Collections/CollectionExists", Read),
    built("/qdrant.Collections/CollectionClusterInfo", Read),
    built("/qdrant.Collections/UpdateCollectionClusterSetup", Write),
    built("/qdrant.Collections/CreateShardKey", Write),
    built("/qdrant.Collections/DeleteShardKey", Write),
    built("/qdrant.Collections/ListShardKeys", Read),
    built("/qdrant.Points/Upsert", Write),
    built("/qdrant.Points/Delete", Write),
    built("/qdrant.Points/Get", Read),
    built("/qdrant.Points/UpdateVectors", Write),
    built("/qdrant.Points/DeleteVectors", Write),
    built("/qdrant.Points/SetPayload", Write),
    built("/qdrant.Points/OverwritePayload", Write),
    built("/qdrant.Points/DeletePayload", Write),
    built("/qdrant.Points/ClearPayload", Write),
    built("/qdrant.Points/CreateFieldIndex", Write),
    built("/qdrant.Points/DeleteFieldIndex", Write),
    built("/qdrant.Points/CreateVectorName", Write),
    built("/qdrant.Points/DeleteVectorName", Write),
    built("/qdrant.Points/Search", Read),
    built("/qdrant.Points/SearchBatch", Read),
    built("/qdrant.Points/SearchGroups", Read),
    built("/qdrant.Points/Scroll", Read),
    built("/qdrant.Points/Recommend", Read),
    built("/qdrant.Points/RecommendBatch", Read),
    built("/qdrant.Points/RecommendGroups", Read),
    built("/qdrant.Points/Discover", Read),
    built("/qdrant.Points/DiscoverBatch", Read),
    built("/qdrant.Points/Count", Read),
    built("/qdrant.Points/UpdateBatch", Write),
    built("/qdrant.Points/Query", Read),
    built("/qdrant.Points/QueryBatch", Read),
    built("/qdrant.Points/QueryGroups", Read),
    built("/qdrant.Points/Facet", Read),
    built("/qdrant.Points/SearchMatrixPairs", Read),
    built("/qdrant.Points/SearchMatrixOffsets", Read),
    built("/qdrant.Snapshots/Create", Write),
    built("/qdrant.Snapshots/List", Read),
    built("/qdrant.Snapshots/Delete", Write),
    built("/qdrant.Snapshots/CreateFull", Write),
    built("/qdrant.Snapshots/ListFull", Read),
    built("/qdrant.Snapshots/DeleteFull", Write),
];

const fn built(path: &'static str, access: Access) -> Method {
    Method { path, access, is_built: true }
}

const fn unbuilt(path: &'static str, access: Access) -> Method {
    Method { path, access, is_built: false }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::METHODS;
    use crate::api::grpc::pb;

    #[test]
    fn the_table_names_each_method_of_the_interface_once() {
        let described: BTreeSet<String> = [pb::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET]
            .into_iter()
            .flat_map(|bytes| FileDescriptorSet::decode(bytes).unwrap().file)
            .flat_map(|file| {
                let package = file.package().to_owned();
                file.service.into_iter().map(move |service| (package.clone(), service))
            })
            .flat_map(|(package, service)| {
                let prefix = format!("/{package}.{}/", service.name());
                service.method.into_iter().map(move |method| format!("{prefix}{}", method.name()))
            })
            .collect();
        let ours: Vec<&str> =
            METHODS.iter().map(|method| method.path).filter(|path| !path.contains("reflection")).collect();
        assert_eq!(ours.len(), described.len());
        assert_eq!(ours.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), described);
    }
}
