import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { readSettings } from '../src/settings.js'
import { KEY, startFakeMedusa } from './fake-medusa.js'
import { ADDRESS } from './shop.js'

const VALID = {
  STORE_NAME: 'Maple',
  STORE_URL: 'http://shop.test',
  COOKIE_SECURE: 'false',
  MEDUSA_BACKEND_URL: 'http://medusa:9000',
  PUBLISHABLE_KEY: KEY,
}

function run(environment) {
  const main = fileURLToPath(new URL('../src/main.js', import.meta.url))
  const child = spawn(process.execPath, [main], { env: environment, stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return { child, line: async () => JSON.parse((await lines.next()).value) }
}

test('settings have defaults where a default is safe', () => {
  const { COOKIE_SECURE, ...rest } = VALID
  const settings = readSettings({ ...rest, STORE_URL: 'https://shop.test/' })
  assert.deepEqual([settings.port, settings.hostname, settings.cookieSecure], [3000, '0.0.0.0', true])
  assert.equal(settings.storeUrl, 'https://shop.test')
})

test('each setting that is missing or wrong is named, without its value', () => {
  const broken = {
    STORE_NAME: ['', /STORE_NAME is missing/],
    STORE_URL: ['shop.test', /STORE_URL must be an http or https URL/],
    COOKIE_SECURE: ['yes', /COOKIE_SECURE must be true or false/],
    MEDUSA_BACKEND_URL: ['http://user:word@medusa:9000', /MEDUSA_BACKEND_URL must not contain credentials/],
    PUBLISHABLE_KEY: ['sk_123', /PUBLISHABLE_KEY must be pk_ and 64 hexadecimal digits/],
    PORT: ['http', /PORT must be a port number/],
  }
  for (const [name, [value, message]] of Object.entries(broken)) {
    assert.throws(
      () => readSettings({ ...VALID, [name]: value }),
      (error) => message.test(error.message) && !/sk_123|word/.test(error.message),
      name,
    )
  }
  assert.throws(() => readSettings({}), /STORE_NAME.*STORE_URL.*MEDUSA_BACKEND_URL.*PUBLISHABLE_KEY/)
  assert.throws(() => readSettings({ ...VALID, COOKIE_SECURE: 'true' }), /browsers would drop the cart/)
  assert.throws(() => readSettings({ ...VALID, STORE_URL: 'https://shop.test' }), /leak over plain http/)
})

test('without its key the process ends at once and says why', async () => {
  const { child, line } = run({ ...VALID, PUBLISHABLE_KEY: '' })
  const exit = once(child, 'exit')
  assert.deepEqual([(await line()).message, (await exit)[0]], ['invalid settings: PUBLISHABLE_KEY is missing', 1])
})

test('SIGTERM lets a running order finish and then ends the process', async (t) => {
  const fake = await startFakeMedusa()
  t.after(() => fake.stop())
  fake.completeMs = 300
  const { child, line } = run({ ...VALID, MEDUSA_BACKEND_URL: fake.url, PORT: '0', HOSTNAME: '127.0.0.1' })
  t.after(() => child.kill('SIGKILL'))
  const exit = once(child, 'exit')
  const { port } = await line()

  const cookies = new Map()
  const post = async (path, fields) => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = { origin: VALID.STORE_URL, cookie }
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: 'POST',
      body: new URLSearchParams(fields),
      headers,
      redirect: 'manual',
    })
    for (const text of response.headers.getSetCookie()) cookies.set(...text.split(';')[0].split('='))
    return response
  }
  await post('/products/mug', { variant: fake.products[0].variants[0].id, quantity: 1 })
  await post('/checkout', ADDRESS)
  const placing = post('/checkout/review', {
    option: fake.options[0].id,
    payment: 'pp_system_default',
    total: '20',
    action: 'place',
  })
  while (!fake.requests.at(-1).endsWith('/complete')) await new Promise((resolve) => setTimeout(resolve, 5))
  child.kill('SIGTERM')
  assert.equal((await placing).status, 303)
  assert.deepEqual(await exit, [0, null])
})
