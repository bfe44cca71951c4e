-- The tables of Alga's extensions as its migrations leave them, for a database of our own.
-- One column or constraint stands on each line: what a live table lacks is read off these lines.

CREATE TABLE IF NOT EXISTS tenants (
  tenant uuid DEFAULT gen_random_uuid() CONSTRAINT tenants_pkey PRIMARY KEY,
  client_name text NOT NULL,
  phone_number text,
  email text NOT NULL,
  industry text,
  created_at timestamptz,
  updated_at timestamptz DEFAULT CURRENT_TIMESTAMP,
  payment_platform_id text,
  payment_method_id text,
  auth_service_id text,
  plan text,
  tax_id_number varchar(255),
  licensed_user_count integer,
  last_license_update timestamptz,
  stripe_event_id varchar(255),
  billing_source text NOT NULL DEFAULT 'stripe',
  product_code text DEFAULT 'psa',
  suspended_at timestamptz,
  suspended_reason text,
  CONSTRAINT tenants_product_code_check CHECK (product_code IS NOT NULL AND product_code IN ('psa', 'algadesk')),
  CONSTRAINT tenants_suspended_reason_check CHECK ((suspended_at IS NULL AND suspended_reason IS NULL) OR (suspended_at IS NOT NULL AND suspended_reason = 'tenant_cancelled'))
);
CREATE INDEX IF NOT EXISTS idx_tenants_tenant_stripe_event ON tenants (tenant, stripe_event_id);

CREATE TABLE IF NOT EXISTS extension_registry (
  id uuid CONSTRAINT extension_registry_pkey PRIMARY KEY,
  publisher varchar(255) NOT NULL,
  name varchar(255) NOT NULL,
  display_name varchar(255),
  description text,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz DEFAULT now(),
  CONSTRAINT extension_registry_publisher_name_unique UNIQUE (publisher, name)
);
CREATE INDEX IF NOT EXISTS extension_registry_publisher_name_idx ON extension_registry (publisher, name);

CREATE TABLE IF NOT EXISTS extension_version (
  id uuid CONSTRAINT extension_version_pkey PRIMARY KEY,
  registry_id uuid NOT NULL CONSTRAINT extension_version_registry_id_foreign REFERENCES extension_registry (id) ON DELETE CASCADE,
  version varchar(255) NOT NULL,
  runtime varchar(255) NOT NULL,
  main_entry varchar(255) NOT NULL,
  api jsonb NOT NULL DEFAULT '{}',
  ui jsonb,
  capabilities jsonb NOT NULL DEFAULT '[]',
  created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
  api_endpoints jsonb NOT NULL DEFAULT '[]',
  CONSTRAINT extension_version_registry_id_version_unique UNIQUE (registry_id, version)
);
CREATE INDEX IF NOT EXISTS extension_version_registry_version_idx ON extension_version (registry_id, version);

CREATE TABLE IF NOT EXISTS extension_bundle (
  id uuid CONSTRAINT extension_bundle_pkey PRIMARY KEY,
  version_id uuid NOT NULL CONSTRAINT extension_bundle_version_id_foreign REFERENCES extension_version (id) ON DELETE CASCADE,
  content_hash varchar(255) NOT NULL,
  signature text,
  precompiled jsonb,
  created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
  storage_url text,
  size_bytes bigint,
  CONSTRAINT extension_bundle_version_id_content_hash_unique UNIQUE (version_id, content_hash)
);
CREATE INDEX IF NOT EXISTS extension_bundle_content_hash_idx ON extension_bundle (content_hash);

CREATE TABLE IF NOT EXISTS extension_api_endpoint (
  id uuid DEFAULT gen_random_uuid() CONSTRAINT extension_api_endpoint_pkey PRIMARY KEY,
  version_id uuid NOT NULL,
  method varchar(16) NOT NULL,
  path text NOT NULL,
  handler text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT extension_api_endpoint_version_method_path_uniq UNIQUE (version_id, method, path)
);
CREATE INDEX IF NOT EXISTS extension_api_endpoint_version_idx ON extension_api_endpoint (version_id);

CREATE TABLE IF NOT EXISTS tenant_extension_install (
  id uuid CONSTRAINT tenant_extension_install_pkey PRIMARY KEY,
  tenant_id varchar(255) NOT NULL,
  registry_id uuid NOT NULL CONSTRAINT tenant_extension_install_registry_id_foreign REFERENCES extension_registry (id) ON DELETE CASCADE,
  version_id uuid NOT NULL CONSTRAINT tenant_extension_install_version_id_foreign REFERENCES extension_version (id),
  granted_caps jsonb NOT NULL DEFAULT '[]',
  config jsonb NOT NULL DEFAULT '{}',
  is_enabled boolean NOT NULL DEFAULT true,
  created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  status text NOT NULL DEFAULT 'enabled' CONSTRAINT tenant_extension_install_status_chk CHECK (status IN ('enabled', 'disabled', 'pending')),
  runner_domain text CONSTRAINT tenant_extension_install_runner_domain_unique UNIQUE,
  runner_status jsonb NOT NULL DEFAULT '{"state": "pending"}',
  runner_ref jsonb,
  CONSTRAINT tenant_extension_install_tenant_id_registry_id_unique UNIQUE (tenant_id, registry_id)
);
CREATE INDEX IF NOT EXISTS tenant_extension_install_tenant_id_index ON tenant_extension_install (tenant_id);
CREATE INDEX IF NOT EXISTS tenant_extension_install_tenant_registry_idx ON tenant_extension_install (tenant_id, registry_id);
CREATE INDEX IF NOT EXISTS tenant_extension_install_runner_domain_idx ON tenant_extension_install (runner_domain);

CREATE TABLE IF NOT EXISTS tenant_extension_install_config (
  id uuid DEFAULT gen_random_uuid() CONSTRAINT tenant_extension_install_config_pkey PRIMARY KEY,
  install_id uuid NOT NULL CONSTRAINT tenant_extension_install_config_install_id_fkey REFERENCES tenant_extension_install (id) ON DELETE CASCADE,
  tenant_id varchar(255) NOT NULL,
  config jsonb NOT NULL DEFAULT '{}',
  providers jsonb NOT NULL DEFAULT '[]',
  version varchar(255) NOT NULL DEFAULT gen_random_uuid()::text,
  created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX IF NOT EXISTS tenant_extension_install_config_install_id_unique ON tenant_extension_install_config (install_id);
CREATE INDEX IF NOT EXISTS tenant_extension_install_config_tenant_id_idx ON tenant_extension_install_config (tenant_id);
CREATE INDEX IF NOT EXISTS tenant_extension_install_config_install_id_version_idx ON tenant_extension_install_config (install_id, version);

CREATE TABLE IF NOT EXISTS tenant_extension_install_secrets (
  id uuid DEFAULT gen_random_uuid() CONSTRAINT tenant_extension_install_secrets_pkey PRIMARY KEY,
  install_id uuid NOT NULL CONSTRAINT tenant_extension_install_secrets_install_id_fkey REFERENCES tenant_extension_install (id) ON DELETE CASCADE,
  tenant_id varchar(255) NOT NULL,
  ciphertext text NOT NULL,
  algorithm varchar(255) NOT NULL DEFAULT 'inline/base64',
  transit_key varchar(255),
  transit_mount varchar(255),
  version varchar(255),
  expires_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX IF NOT EXISTS tenant_extension_install_secrets_install_id_unique ON tenant_extension_install_secrets (install_id);
CREATE INDEX IF NOT EXISTS tenant_extension_install_secrets_tenant_id_idx ON tenant_extension_install_secrets (tenant_id);
CREATE INDEX IF NOT EXISTS tenant_extension_install_secrets_install_id_idx ON tenant_extension_install_secrets (install_id);

CREATE TABLE IF NOT EXISTS tenant_extension_schedule (
  id uuid DEFAULT gen_random_uuid() CONSTRAINT tenant_extension_schedule_pkey PRIMARY KEY,
  install_id uuid NOT NULL,
  tenant_id varchar(255) NOT NULL,
  endpoint_id uuid NOT NULL,
  name varchar(128),
  cron text NOT NULL,
  timezone varchar(64) NOT NULL DEFAULT 'UTC',
  enabled boolean NOT NULL DEFAULT true,
  payload_json jsonb,
  job_id uuid,
  runner_schedule_id varchar(255),
  last_run_at timestamptz,
  last_run_status varchar(32),
  last_error text,
  created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX IF NOT EXISTS tenant_extension_schedule_install_name_uniq ON tenant_extension_schedule (install_id, name) WHERE name IS NOT NULL;
CREATE INDEX IF NOT EXISTS tenant_extension_schedule_tenant_idx ON tenant_extension_schedule (tenant_id);
CREATE INDEX IF NOT EXISTS tenant_extension_schedule_tenant_install_idx ON tenant_extension_schedule (tenant_id, install_id);
CREATE INDEX IF NOT EXISTS tenant_extension_schedule_tenant_endpoint_idx ON tenant_extension_schedule (tenant_id, endpoint_id);
CREATE INDEX IF NOT EXISTS tenant_extension_schedule_tenant_job_idx ON tenant_extension_schedule (tenant_id, job_id);
CREATE INDEX IF NOT EXISTS tenant_extension_schedule_runner_schedule_id_idx ON tenant_extension_schedule (runner_schedule_id);

CREATE TABLE IF NOT EXISTS extension_execution_log (
  id uuid CONSTRAINT extension_execution_log_pkey PRIMARY KEY,
  tenant_id varchar(255) NOT NULL,
  registry_id uuid NOT NULL,
  version_id uuid NOT NULL,
  request_id varchar(255),
  started_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  finished_at timestamptz,
  status text NOT NULL,
  metrics jsonb,
  error text
);
CREATE INDEX IF NOT EXISTS extension_execution_log_tenant_registry_started_idx ON extension_execution_log (tenant_id, registry_id, started_at);

CREATE TABLE IF NOT EXISTS extension_quota_usage (
  tenant_id varchar(255) NOT NULL,
  registry_id uuid NOT NULL,
  window_start timestamptz NOT NULL,
  cpu_ms bigint NOT NULL DEFAULT '0',
  mem_mb_ms bigint NOT NULL DEFAULT '0',
  invocations bigint NOT NULL DEFAULT '0',
  egress_bytes bigint NOT NULL DEFAULT '0',
  CONSTRAINT extension_quota_usage_pkey PRIMARY KEY (tenant_id, registry_id, window_start)
);
CREATE INDEX IF NOT EXISTS extension_quota_usage_tenant_window_idx ON extension_quota_usage (tenant_id, window_start);

CREATE TABLE IF NOT EXISTS extension_event_subscription (
  id uuid CONSTRAINT extension_event_subscription_pkey PRIMARY KEY,
  tenant_id varchar(255) NOT NULL,
  install_id uuid NOT NULL CONSTRAINT extension_event_subscription_install_id_foreign REFERENCES tenant_extension_install (id) ON DELETE CASCADE,
  topic varchar(255) NOT NULL,
  handler varchar(255) NOT NULL,
  created_at timestamptz DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS extension_event_subscription_tenant_id_topic_index ON extension_event_subscription (tenant_id, topic);

CREATE TABLE IF NOT EXISTS ext_storage_records (
  tenant uuid NOT NULL,
  extension_install_id uuid NOT NULL,
  namespace varchar(128) NOT NULL,
  key varchar(256) NOT NULL,
  revision bigint NOT NULL DEFAULT '1',
  value jsonb NOT NULL,
  metadata jsonb NOT NULL DEFAULT '{}',
  value_size_bytes bigint NOT NULL DEFAULT '0',
  metadata_size_bytes bigint NOT NULL DEFAULT '0',
  ttl_expires_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT ext_storage_records_pk PRIMARY KEY (tenant, extension_install_id, namespace, key)
);
CREATE INDEX IF NOT EXISTS ext_storage_records_namespace_idx ON ext_storage_records (tenant, extension_install_id, namespace, key);
CREATE INDEX IF NOT EXISTS ext_storage_records_ttl_idx ON ext_storage_records (tenant, extension_install_id, namespace, key) WHERE ttl_expires_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS ext_storage_schemas (
  tenant uuid NOT NULL,
  extension_install_id uuid NOT NULL,
  namespace varchar(128) NOT NULL,
  schema_version integer NOT NULL,
  schema_document jsonb NOT NULL,
  status text NOT NULL DEFAULT 'active' CONSTRAINT ext_storage_schemas_status_check CHECK (status IN ('active', 'deprecated', 'draft')),
  created_by uuid,
  created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT ext_storage_schemas_pk PRIMARY KEY (tenant, extension_install_id, namespace, schema_version)
);
CREATE UNIQUE INDEX IF NOT EXISTS ext_storage_schemas_namespace_active_uq ON ext_storage_schemas (tenant, extension_install_id, namespace) WHERE status = 'active';

CREATE TABLE IF NOT EXISTS ext_storage_usage (
  tenant uuid NOT NULL,
  extension_install_id uuid NOT NULL,
  bytes_used bigint NOT NULL DEFAULT '0',
  keys_count integer NOT NULL DEFAULT 0,
  namespaces_count integer NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT ext_storage_usage_pk PRIMARY KEY (tenant, extension_install_id)
);
