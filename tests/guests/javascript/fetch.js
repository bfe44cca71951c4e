// A guest that goes around its host: it asks through JavaScript's own fetch, which is wasi:http,
// for the URL in the header x-fetch-url, and tells what became of it.
export async function handler(request) {
  const url = request.http.headers.find(({ name }) => name === "x-fetch-url")?.value;
  const told = { fetched: null, error: null };
  try {
    const response = await fetch(url ?? "http://127.0.0.1:9/");
    told.fetched = { status: response.status, body: await response.text() };
  } catch (error) {
    told.error = String(error);
  }
  const headers = [{ name: "content-type", value: "application/json" }];
  return { status: 200, headers, body: new TextEncoder().encode(JSON.stringify(told)) };
}
