// Settings come from the environment when the process starts, so that one image serves every store. All problems are
// told at once: who fixes a manifest should not have to restart a pod for each of them.

export class SettingsError extends Error {
  constructor(problems) {
    super(`invalid settings: ${problems.join('; ')}`)
    this.name = 'SettingsError'
  }
}

/** Reads and checks the settings. Throws a SettingsError that names every variable at fault. */
export function readSettings(environment) {
  const problems = []
  const read = (name, parse, fallback) => {
    const text = (environment[name] ?? '').trim() || fallback
    if (text === undefined) {
      problems.push(`${name} is missing`)
      return undefined
    }
    try {
      return parse(text)
    } catch (error) {
      problems.push(`${name} ${error.message}`)
      return undefined
    }
  }

  const settings = {
    port: read('PORT', parsePort, '3000'),
    hostname: read('HOSTNAME', (text) => text, '0.0.0.0'),
    storeName: read('STORE_NAME', parseName),
    storeUrl: read('STORE_URL', parseOrigin),
    cookieSecure: read('COOKIE_SECURE', parseBoolean, 'true'),
    backendUrl: read('MEDUSA_BACKEND_URL', parseOrigin),
    publishableKey: read('PUBLISHABLE_KEY', parseKey),
  }
  if (settings.storeUrl && settings.cookieSecure !== undefined) {
    const https = settings.storeUrl.startsWith('https:')
    if (settings.cookieSecure && !https) {
      problems.push('COOKIE_SECURE is true but STORE_URL is http: browsers would drop the cart')
    }
    if (!settings.cookieSecure && https) {
      problems.push('COOKIE_SECURE is false but STORE_URL is https: the cart could leak over plain http')
    }
  }
  if (problems.length > 0) throw new SettingsError(problems)
  return Object.freeze(settings)
}

function parsePort(text) {
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65535) throw new Error('must be a port number')
  return port
}

function parseName(text) {
  if (text.length > 200) throw new Error('must be at most 200 characters')
  return text
}

/** The origin alone: pages live at the root of the host, and a path would be lost silently. */
function parseOrigin(text) {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !['http:', 'https:'].includes(url.protocol)) throw new Error('must be an http or https URL')
  if (url.username || url.password) throw new Error('must not contain credentials')
  if (url.pathname !== '/' || url.search || url.hash) throw new Error('must not have a path, query or fragment')
  return url.origin
}

function parseBoolean(text) {
  if (text !== 'true' && text !== 'false') throw new Error('must be true or false')
  return text === 'true'
}

function parseKey(text) {
  // The value is not repeated in the message: it may be another secret put into the wrong place.
  if (!/^pk_[0-9a-f]{64}$/.test(text)) throw new Error('must be pk_ and 64 hexadecimal digits')
  return text
}
