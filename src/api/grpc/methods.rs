//! Every method of the interface, and what it needs a key for.

use crate::api::auth::Access::{self, Open, Read, Write};

/// One method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    /// `/package.Service/Name`, as requests name it.
    pub(super) path: &'static str,
    pub(super) access: Access,
}

/// The methods of our services.
pub(super) const METHODS: &[Method] = &[
    method("/grpc.health.v1.Health/Check", Open),
    method("/grpc.health.v1.Health/Watch", Open),
    method("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Read),
    method("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Read),
    method("/qdrant.Qdrant/HealthCheck", Open),
    method("/qdrant.Collections/Get", Read),
    method("/qdrant.Collections/List", Read),
    method("/qdrant.Collections/Create", Write),
    method("/qdrant.Collections/Update", Write),
    method("/qdrant.Collections/Delete", Write),
    method("/qdrant.Collections/UpdateAliases", Write),
    method("/qdrant.Collections/ListCollectionAliases", Read),
    method("/qdrant.Collections/ListAliases", Read),
    method("/qdrant.Collections/CollectionExists", Read),
    method("/qdrant.Collections/CollectionClusterInfo", Read),
    method("/qdrant.Collections/UpdateCollectionClusterSetup", Write),
    method("/qdrant.Collections/CreateShardKey", Write),
    method("/qdrant.Collections/DeleteShardKey", Write),
    method("/qdrant.Collections/ListShardKeys", Read),
    method("/qdrant.Points/Upsert", Write),
    method("/qdrant.Points/Delete", Write),
    method("/qdrant.Points/Get", Read),
    method("/qdrant.Points/UpdateVectors", Write),
    method("/qdrant.Points/DeleteVectors", Write),
    method("/qdrant.Points/SetPayload", Write),
    method("/qdrant.Points/OverwritePayload", Write),
    method("/qdrant.Points/DeletePayload", Write),
    method("/qdrant.Points/ClearPayload", Write),
    method("/qdrant.Points/CreateFieldIndex", Write),
    method("/qdrant.Points/DeleteFieldIndex", Write),
    method("/qdrant.Points/CreateVectorName", Write),
    method("/qdrant.Points/DeleteVectorName", Write),
    method("/qdrant.Points/Search", Read),
    method("/qdrant.Points/SearchBatch", Read),
    method("/qdrant.Points/SearchGroups", Read),
    method("/qdrant.Points/Scroll", Read),
    method("/qdrant.Points/Recommend", Read),
    method("/qdrant.Points/RecommendBatch", Read),
    method("/qdrant.Points/RecommendGroups", Read),
    method("/qdrant.Points/Discover", Read),
    method("/qdrant.Points/DiscoverBatch", Read),
    method("/qdrant.Points/Count", Read),
    method("/qdrant.Points/UpdateBatch", Write),
    method("/qdrant.Points/Query", Read),
    method("/qdrant.Points/QueryBatch", Read),
    method("/qdrant.Points/QueryGroups", Read),
    method("/qdrant.Points/Facet", Read),
    method("/qdrant.Points/SearchMatrixPairs", Read),
    method("/qdrant.Points/SearchMatrixOffsets", Read),
    method("/qdrant.Snapshots/Create", Write),
    method("/qdrant.Snapshots/List", Read),
    method("/qdrant.Snapshots/Delete", Write),
    method("/qdrant.Snapshots/CreateFull", Write),
    method("/qdrant.Snapshots/ListFull", Read),
    method("/qdrant.Snapshots/DeleteFull", Write),
];

const fn method(path: &'static str, access: Access) -> Method {
    Method { path, access }
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
