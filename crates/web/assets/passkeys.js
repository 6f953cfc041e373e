// Passkeys (Web Authentication): the buttons appear only where the browser can.

export function startPasskeys() {
  if (!window.PublicKeyCredential) return;
  for (const button of document.querySelectorAll("[data-passkey]")) {
    button.hidden = false;
    button.addEventListener("click", () => act(button));
  }
}

async function act(button) {
  const said = document.getElementById(button.dataset.passkeyStatus);
  const say = (text) => {
    if (said) said.textContent = text;
  };
  button.disabled = true;
  say("");
  try {
    const begin = await post(button, button.dataset.passkey + "/begin", {});
    const credential =
      button.dataset.passkeyKind === "create"
        ? await navigator.credentials.create({ publicKey: forCreation(begin.publicKey) })
        : await navigator.credentials.get({ publicKey: forRequest(begin.publicKey) });
    const name = document.getElementById(button.dataset.passkeyName)?.value;
    const done = await post(button, button.dataset.passkey + "/finish", {
      name: name ?? "",
      next: button.dataset.passkeyNext ?? "",
      credential: plain(credential),
    });
    location.assign(done.to);
  } catch (error) {
    say(error.detail ?? button.dataset.passkeyFailed);
    button.disabled = false;
  }
}

async function post(button, path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json",
      "x-csrf-token": button.dataset.passkeyCsrf,
    },
    body: JSON.stringify(body),
  });
  const document = await response.json();
  if (!response.ok) throw document;
  return document;
}

function bytes(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (c) => c.charCodeAt(0));
}

function text(buffer) {
  const binary = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

const list = (items) => (items ?? []).map((item) => ({ ...item, id: bytes(item.id) }));

function forCreation(options) {
  return {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: list(options.excludeCredentials),
  };
}

function forRequest(options) {
  return {
    ...options,
    challenge: bytes(options.challenge),
    allowCredentials: list(options.allowCredentials),
  };
}

function plain(credential) {
  const { response } = credential;
  const out = { clientDataJSON: text(response.clientDataJSON) };
  if (response.attestationObject) {
    out.attestationObject = text(response.attestationObject);
    if (response.getTransports) out.transports = response.getTransports();
  } else {
    out.authenticatorData = text(response.authenticatorData);
    out.signature = text(response.signature);
    out.userHandle = response.userHandle ? text(response.userHandle) : null;
  }
  return {
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    extensions: credential.getClientExtensionResults(),
    response: out,
  };
}
