//! From values of the world to the JSON of the answer.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::alga::extension::types as world;

pub fn bytes(value: &[u8]) -> Value {
    BASE64_STANDARD.encode(value).into()
}

fn headers(value: &[world::HttpHeader]) -> Vec<[&str; 2]> {
    value.iter().map(|header| [&*header.name, &*header.value]).collect()
}

pub fn context(value: &world::ContextData) -> Value {
    json!({
        "request_id": value.request_id,
        "tenant_id": value.tenant_id,
        "extension_id": value.extension_id,
        "install_id": value.install_id,
        "version_id": value.version_id,
    })
}

pub fn request(value: &world::HttpRequest, scripted: bool) -> Value {
    let mut told = json!({
        "method": value.method,
        "url": value.url,
        "headers": headers(&value.headers),
    });
    if !scripted {
        told["body_b64"] = value.body.as_deref().map(bytes).into();
    }
    told
}

pub fn response(value: &world::HttpResponse) -> Value {
    json!({
        "status": value.status,
        "headers": headers(&value.headers),
        "body": value.body.as_deref().map(bytes),
    })
}

pub fn entry(value: &world::StorageEntry) -> Value {
    json!({
        "namespace": value.namespace,
        "key": value.key,
        "value": bytes(&value.value),
        "revision": value.revision,
    })
}

pub fn user(value: &world::UserData) -> Value {
    json!({
        "tenant_id": value.tenant_id,
        "client_name": value.client_name,
        "user_id": value.user_id,
        "user_email": value.user_email,
        "user_name": value.user_name,
        "user_type": value.user_type,
    })
}

pub fn user_v2(value: &world::UserDataV2) -> Value {
    json!({
        "tenant_id": value.tenant_id,
        "client_name": value.client_name,
        "user_id": value.user_id,
        "user_email": value.user_email,
        "user_name": value.user_name,
        "user_type": value.user_type,
        "client_id": value.client_id,
        "additional_fields": value.additional_fields,
    })
}

pub fn schedule(value: &world::ScheduleInfo) -> Value {
    json!({
        "id": value.id,
        "endpoint_path": value.endpoint_path,
        "endpoint_method": value.endpoint_method,
        "name": value.name,
        "cron": value.cron,
        "timezone": value.timezone,
        "enabled": value.enabled,
        "payload": value.payload,
        "last_run_at": value.last_run_at,
        "last_run_status": value.last_run_status,
        "last_error": value.last_error,
        "created_at": value.created_at,
    })
}

pub fn endpoint(value: &world::EndpointInfo) -> Value {
    json!({
        "id": value.id,
        "method": value.method,
        "path": value.path,
        "handler": value.handler,
        "schedulable": value.schedulable,
    })
}

pub fn created(value: &world::CreateScheduleResult) -> Value {
    json!({
        "success": value.success,
        "schedule_id": value.schedule_id,
        "error": value.error,
        "field_errors": value.field_errors,
    })
}

pub fn updated(value: &world::UpdateScheduleResult) -> Value {
    json!({
        "success": value.success,
        "error": value.error,
        "field_errors": value.field_errors,
    })
}

pub fn deleted(value: &world::DeleteScheduleResult) -> Value {
    json!({"success": value.success, "error": value.error})
}

pub fn invoice(value: &world::CreateManualInvoiceResult) -> Value {
    json!({
        "success": value.success,
        "invoice_id": value.invoice_id,
        "invoice_number": value.invoice_number,
        "status": value.status,
        "subtotal": value.subtotal,
        "tax": value.tax,
        "total": value.total,
        "error": value.error,
        "field_errors": value.field_errors,
    })
}

pub fn client(value: &world::ClientSummary) -> Value {
    json!({
        "client_id": value.client_id,
        "client_name": value.client_name,
        "client_type": value.client_type,
        "is_inactive": value.is_inactive,
        "default_currency_code": value.default_currency_code,
        "account_manager_id": value.account_manager_id,
        "account_manager_name": value.account_manager_name,
        "billing_email": value.billing_email,
    })
}

pub fn clients(value: &world::ClientsListResult) -> Value {
    json!({
        "items": value.items.iter().map(client).collect::<Vec<_>>(),
        "total_count": value.total_count,
        "page": value.page,
        "page_size": value.page_size,
    })
}

pub fn service(value: &world::ServiceSummary) -> Value {
    use world::ServiceBillingMethod::{Fixed, Hourly, Usage};
    use world::ServiceItemKind::{Product, Service};
    let kind = match value.item_kind {
        Service => "service",
        Product => "product",
    };
    let method = match value.billing_method {
        Fixed => "fixed",
        Hourly => "hourly",
        Usage => "usage",
    };
    json!({
        "service_id": value.service_id,
        "service_name": value.service_name,
        "item_kind": kind,
        "billing_method": method,
        "service_type_id": value.service_type_id,
        "service_type_name": value.service_type_name,
        "default_rate": value.default_rate,
        "unit_of_measure": value.unit_of_measure,
        "is_active": value.is_active,
        "sku": value.sku,
    })
}

pub fn services(value: &world::ServicesListResult) -> Value {
    json!({
        "items": value.items.iter().map(service).collect::<Vec<_>>(),
        "total_count": value.total_count,
        "page": value.page,
        "page_size": value.page_size,
    })
}
