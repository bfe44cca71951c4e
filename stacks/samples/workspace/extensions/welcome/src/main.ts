document.querySelector("p")!.textContent = "Good to see you.";
