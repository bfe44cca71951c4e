import { money } from "@acme/money";

document.querySelector("p")!.textContent = `A new mail server: ${money(249900)}`;
