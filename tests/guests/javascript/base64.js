// Standard base64. btoa wants a string of bytes, and spreading a large array ends the stack.
export function toBase64(bytes) {
  let characters = "";
  for (let start = 0; start < bytes.length; start += 4096) {
    characters += String.fromCharCode(...bytes.subarray(start, start + 4096));
  }
  return btoa(characters);
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
