// The invoices that extensions have created, newest first as the gateway lists them.

/**
 * @typedef {{
 *   invoiceNumber?: string, status?: string, clientName?: string, clientId?: string,
 *   createdAt?: string, invoiceDate?: string | null, dueDate?: string | null,
 *   items?: Item[], subtotal?: number, tax?: number, total?: number,
 * }} Invoice
 * @typedef {{quantity: number, description: string, rate: number, isDiscount?: boolean,
 *   discountType?: string | null}} Item
 */

const state = /** @type {HTMLElement} */ (document.querySelector("#state"));
const table = /** @type {HTMLElement} */ (document.querySelector(".scroll"));

/** @param {Invoice} invoice */
function row(invoice) {
  const template = /** @type {HTMLTemplateElement} */ (document.querySelector("template"));
  const made = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  const values = [
    invoice.invoiceNumber,
    invoice.status,
    invoice.clientName ?? invoice.clientId,
    dates(invoice),
    invoice.items?.map(line).join("; "),
    invoice.subtotal,
    invoice.tax,
    invoice.total,
  ];
  values.forEach((value, at) => (made.children[at].textContent = String(value ?? "")));
  return made;
}

/** @param {Invoice} invoice */
function dates({ createdAt, invoiceDate, dueDate }) {
  const made = createdAt ? new Date(createdAt).toLocaleString() : "";
  return [invoiceDate ?? made, dueDate && `due ${dueDate}`].filter(Boolean).join(", ");
}

/** @param {Item} item */
function line({ quantity, description, rate, isDiscount, discountType }) {
  const unit = isDiscount && discountType === "percentage" ? `${rate} %` : rate;
  return `${quantity} × ${description} at ${unit}${isDiscount ? " off" : ""}`;
}

try {
  const response = await fetch("/algaenv/invoices");
  if (!response.ok) throw new Error(`the gateway answered ${response.status}`);
  const { invoices } = /** @type {{invoices: Invoice[]}} */ (await response.json());
  document.querySelector("tbody")?.replaceChildren(...invoices.map(row));
  table.hidden = invoices.length === 0;
  state.textContent = invoices.length ? "" : "No extension has created an invoice yet.";
} catch (error) {
  state.textContent = `The invoices cannot be shown: ${error instanceof Error ? error.message : error}.`;
}
