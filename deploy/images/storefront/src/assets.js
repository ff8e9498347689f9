import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

const TYPES = { css: 'text/css; charset=utf-8', svg: 'image/svg+xml' }

/** The files under assets/, read once, at addresses that change with their content. */
export function loadAssets(names) {
  const files = new Map(
    names.map((name) => {
      const content = readFileSync(new URL(`../assets/${name}`, import.meta.url), 'utf8')
      const hash = createHash('sha256').update(content).digest('hex').slice(0, 12)
      const [base, extension] = name.split('.')
      return [name, { content, type: TYPES[extension], base, extension, hash }]
    }),
  )
  return {
    url(name) {
      const { base, extension, hash } = files.get(name)
      return `/assets/${base}.${hash}.${extension}`
    },

    /** Answers a request for `<base>.<hash>.<extension>`. */
    serve(c, requested) {
      const [base, hash, extension, ...rest] = requested.split('.')
      const file = files.get(`${base}.${extension}`)
      if (!file || rest.length > 0 || !/^[0-9a-f]{12}$/.test(hash)) return c.notFound()
      // While a new version is rolled out a page of one pod may ask the other pod: better another style than none, but
      // not to be kept under that address.
      const forever = hash === file.hash
      c.header('cache-control', forever ? 'public, max-age=31536000, immutable' : 'no-cache')
      c.header('content-type', file.type)
      return c.body(file.content)
    },
  }
}
