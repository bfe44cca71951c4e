//! From the JSON of a script to values of the world. A mistake is a sentence.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;

use crate::alga::extension::types::{
    ClientsListInput, CreateManualInvoiceInput, CreateScheduleInput, DiscountType, HttpHeader,
    HttpRequest, ManualInvoiceItemInput, ServiceBillingMethod, ServiceItemKind, ServicesListInput,
    StorageEntry, UpdateScheduleInput,
};

type Read<T> = Result<T, String>;

/// The arguments of a call; one that is not there is null.
pub struct Args<'a>(pub &'a [Value]);

impl Args<'_> {
    pub fn at(&self, index: usize) -> &Value {
        self.0.get(index).unwrap_or(&Value::Null)
    }

    pub fn text(&self, index: usize) -> Read<String> {
        text(self.at(index))
    }

    pub fn number(&self, index: usize) -> Read<u64> {
        self.at(index).as_u64().ok_or_else(|| no("a number", self.at(index)))
    }
}

fn no(what: &str, value: &Value) -> String {
    format!("not {what}: {value}")
}

/// A string; `{"b64"}` need not be UTF-8, which is the point of it.
pub fn text(value: &Value) -> Read<String> {
    if let Some(text) = value.as_str() {
        return Ok(text.into());
    }
    if !value["b64"].is_null() {
        return bytes(&value["b64"]).map(|raw| unsafe { String::from_utf8_unchecked(raw) });
    }
    match (value["repeat"].as_str(), value["times"].as_u64()) {
        (Some(text), Some(times)) => Ok(text.repeat(times as usize)),
        _ => Err(no("a string", value)),
    }
}

pub fn bytes(value: &Value) -> Read<Vec<u8>> {
    let text = value.as_str().ok_or_else(|| no("base64", value))?;
    BASE64_STANDARD.decode(text).map_err(|error| format!("not base64: {error}"))
}

pub fn option<T>(value: &Value, read: impl Fn(&Value) -> Read<T>) -> Read<Option<T>> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}

fn boolean(value: &Value) -> Read<bool> {
    value.as_bool().ok_or_else(|| no("a boolean", value))
}

fn whole(value: &Value) -> Read<u32> {
    let number = value.as_u64().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| no("a u32", value))
}

fn float(value: &Value) -> Read<f64> {
    match value.as_str() {
        Some("nan") => Ok(f64::NAN),
        Some("inf") => Ok(f64::INFINITY),
        Some("-inf") => Ok(f64::NEG_INFINITY),
        _ => value.as_f64().ok_or_else(|| no("an f64", value)),
    }
}

fn case<T: Copy>(value: &Value, cases: &[(&str, T)]) -> Read<T> {
    let found = cases.iter().find(|(name, _)| value == name);
    found.map(|(_, case)| *case).ok_or_else(|| no("a case", value))
}

pub fn headers(value: &Value) -> Read<Vec<HttpHeader>> {
    let pairs = value.as_array().into_iter().flatten();
    pairs.map(|pair| Ok(HttpHeader { name: text(&pair[0])?, value: text(&pair[1])? })).collect()
}

pub fn request(value: &Value) -> Read<HttpRequest> {
    Ok(HttpRequest {
        method: text(&value["method"])?,
        url: text(&value["url"])?,
        headers: headers(&value["headers"])?,
        body: option(&value["body"], bytes)?,
    })
}

pub fn entry(value: &Value) -> Read<StorageEntry> {
    let revision = |value: &Value| value.as_u64().ok_or_else(|| no("a u64", value));
    Ok(StorageEntry {
        namespace: text(&value["namespace"])?,
        key: text(&value["key"])?,
        value: bytes(&value["value"])?,
        revision: option(&value["revision"], revision)?,
    })
}

pub fn schedule(value: &Value) -> Read<CreateScheduleInput> {
    Ok(CreateScheduleInput {
        endpoint: text(&value["endpoint"])?,
        cron: text(&value["cron"])?,
        timezone: option(&value["timezone"], text)?,
        enabled: option(&value["enabled"], boolean)?,
        name: option(&value["name"], text)?,
        payload: option(&value["payload"], text)?,
    })
}

pub fn schedule_change(value: &Value) -> Read<UpdateScheduleInput> {
    Ok(UpdateScheduleInput {
        endpoint: option(&value["endpoint"], text)?,
        cron: option(&value["cron"], text)?,
        timezone: option(&value["timezone"], text)?,
        enabled: option(&value["enabled"], boolean)?,
        name: option(&value["name"], text)?,
        payload: option(&value["payload"], text)?,
    })
}

pub fn invoice(value: &Value) -> Read<CreateManualInvoiceInput> {
    let items = value["items"].as_array().into_iter().flatten();
    Ok(CreateManualInvoiceInput {
        client_id: text(&value["client_id"])?,
        items: items.map(invoice_item).collect::<Read<_>>()?,
        invoice_date: option(&value["invoice_date"], text)?,
        due_date: option(&value["due_date"], text)?,
        po_number: option(&value["po_number"], text)?,
    })
}

fn invoice_item(value: &Value) -> Read<ManualInvoiceItemInput> {
    let discounts = [("percentage", DiscountType::Percentage), ("fixed", DiscountType::Fixed)];
    Ok(ManualInvoiceItemInput {
        service_id: text(&value["service_id"])?,
        quantity: float(&value["quantity"])?,
        description: text(&value["description"])?,
        rate: float(&value["rate"])?,
        is_discount: option(&value["is_discount"], boolean)?,
        discount_type: option(&value["discount_type"], |value| case(value, &discounts))?,
        applies_to_item_id: option(&value["applies_to_item_id"], text)?,
        applies_to_service_id: option(&value["applies_to_service_id"], text)?,
    })
}

pub fn clients(value: &Value) -> Read<ClientsListInput> {
    Ok(ClientsListInput {
        search: option(&value["search"], text)?,
        include_inactive: option(&value["include_inactive"], boolean)?,
        page: option(&value["page"], whole)?,
        page_size: option(&value["page_size"], whole)?,
    })
}

pub fn services(value: &Value) -> Read<ServicesListInput> {
    use ServiceBillingMethod::{Fixed, Hourly, Usage};
    use ServiceItemKind::{Product, Service};
    let kinds = [("service", Service), ("product", Product)];
    let methods = [("fixed", Fixed), ("hourly", Hourly), ("usage", Usage)];
    Ok(ServicesListInput {
        search: option(&value["search"], text)?,
        item_kind: option(&value["item_kind"], |value| case(value, &kinds))?,
        is_active: option(&value["is_active"], boolean)?,
        billing_method: option(&value["billing_method"], |value| case(value, &methods))?,
        page: option(&value["page"], whole)?,
        page_size: option(&value["page_size"], whole)?,
    })
}
