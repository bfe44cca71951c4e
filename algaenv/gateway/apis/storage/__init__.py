"""What extensions keep: JSON under keys in namespaces, with revisions, expiry and quotas."""
