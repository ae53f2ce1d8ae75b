// Asks the server, typed by its own description (schema.d.ts is made from openapi.json).
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Get = { [P in keyof paths]: paths[P] extends { get: object } ? P : never }[keyof paths];
export type Answer<P extends Get> = paths[P] extends {
  get: { responses: { 200: { content: { "application/json": infer T } } } };
}
  ? T
  : never;

export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly word: string,
    message: string,
  ) {
    super(message);
  }
}

export type Query = Record<string, string | number | null | undefined>;

export function urlOf(path: string, query: Query): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) params.set(name, String(value));
  }
  const text = params.toString();
  return path.replace(/^\//, "") + (text ? `?${text}` : "");
}

async function refused(response: Response): Promise<Refused> {
  try {
    const body = (await response.json()) as Schemas["Error"];
    return new Refused(response.status, body.error, body.message);
  } catch {
    return new Refused(response.status, "unreadable", `the server answered with status ${response.status}`);
  }
}

export async function get<P extends Get>(path: P, query: Query, signal?: AbortSignal): Promise<Answer<P>> {
  const response = await fetch(urlOf(path, query), { signal: signal ?? null, headers: { accept: "application/json" } });
  if (!response.ok) throw await refused(response);
  return (await response.json()) as Answer<P>;
}

export async function send(method: "POST" | "DELETE", path: string, body?: unknown): Promise<void> {
  const response = await fetch(path.replace(/^\//, ""), {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? null : JSON.stringify(body),
  });
  if (!response.ok) throw await refused(response);
}
