import { serve } from '@hono/node-server'
import { createApp } from './app.js'
import { createLog } from './log.js'
import { createMedusa } from './medusa.js'
import { SettingsError, readSettings } from './settings.js'

// Longer than ingress controllers keep idle connections (nginx: 60 s): a connection that this side closes first may
// just be carrying an order.
const KEEP_ALIVE_MS = 75_000
const REQUEST_MS = 30_000
// Completing an order may take 20 s; Kubernetes kills after 30, of which the chart sleeps 10 before the signal.
const STOP_MS = 18_000

const log = createLog((line) => process.stdout.write(line))

function start() {
  const settings = readSettings(process.env)
  const app = createApp({ settings, medusa: createMedusa(settings), log })
  const server = serve({
    fetch: app.fetch,
    port: settings.port,
    hostname: settings.hostname,
    serverOptions: { keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS },
  })
  server.on('listening', () =>
    log.info('listening', { port: server.address().port, start_ms: Math.round(performance.now()) }),
  )
  server.on('error', (error) => fail(`can't listen on ${settings.hostname}:${settings.port}: ${error.message}`))
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => stop(server, signal))
}

/** Answers what has arrived, takes nothing new, and ends. A second signal ends at once. */
function stop(server, signal) {
  log.info('stopping', { signal })
  server.close(() => process.exit(0))
  // Connections that are busy now become idle later, and would otherwise stay open for KEEP_ALIVE_MS.
  setInterval(() => server.closeIdleConnections(), 50).unref()
  setTimeout(() => fail('requests were still running when the time to stop was over'), STOP_MS).unref()
}

function fail(message) {
  log.error(message)
  process.exit(1)
}

try {
  start()
} catch (error) {
  if (!(error instanceof SettingsError)) throw error
  fail(error.message)
}
