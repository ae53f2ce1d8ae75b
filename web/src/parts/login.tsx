// Lets a browser in by the link or token that the server prints.
import { useState } from "preact/hooks";
import { Refused, send } from "../api/client";
import { Note } from "./states";

// From `#login=TOKEN`; removed from the address at once, so that it stays in no history.
export function loginToken(): string | null {
  const match = /^#login=([a-z0-9]+)$/.exec(location.hash);
  if (!match) return null;
  history.replaceState(null, "", "#/now");
  return match[1]!;
}

export function Login({ onDone, refused }: { onDone: () => void; refused: Refused | null }) {
  const [token, setToken] = useState("");
  const [error, setError] = useState<Refused | null>(refused?.word === "login" ? null : refused);
  const submit = async (event: Event) => {
    event.preventDefault();
    const given = token.trim().replace(/^.*#login=/, "");
    try {
      await send("POST", "api/v1/view/login", { token: given });
      setError(null);
      onDone();
    } catch (problem) {
      setError(problem instanceof Refused ? problem : new Refused(0, "unreachable", "the server cannot be reached"));
    }
  };
  return (
    <main class="login">
      <form onSubmit={submit}>
        <h1>NetLat</h1>
        <p>
          On the server, <code>netlat server login</code> prints a link that lets one browser in to look; with{" "}
          <code>--admin</code> also to start and stop tasks.
        </p>
        <label>
          Link or token
          <input
            type="password"
            autocomplete="off"
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
            required
          />
        </label>
        <button type="submit">Log in</button>
        {error && <Note kind="error">{error.message}</Note>}
      </form>
    </main>
  );
}
