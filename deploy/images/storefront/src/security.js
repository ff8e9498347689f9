import { bodyLimit } from 'hono/body-limit'

// The largest form has eleven short fields.
const BODY_LIMIT_BYTES = 16 * 1024

/** Headers of every answer. Pages carry no scripts, so none may run. */
export function securityHeaders({ storeUrl }) {
  // Product images lie on the shop's own host or on object storage, which only a shop without https has on plain http.
  const images = storeUrl.startsWith('https:') ? 'https:' : 'https: http:'
  const policy = [
    "default-src 'none'",
    "style-src 'self'",
    `img-src 'self' ${images}`,
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  return async (c, next) => {
    await next()
    c.header('content-security-policy', policy)
    c.header('x-content-type-options', 'nosniff')
    // Not no-referrer: with it browsers send `Origin: null` with forms, and the check below needs the origin.
    c.header('referrer-policy', 'same-origin')
    c.header('cross-origin-opener-policy', 'same-origin')
  }
}

/** Refuses posts from other sites, which would come with the shopper's cookies, and bodies that are no form of ours. */
export function guardPosts({ storeUrl, onRefused }) {
  const limit = bodyLimit({ maxSize: BODY_LIMIT_BYTES, onError: (c) => onRefused(c, 413) })
  return async (c, next) => {
    if (c.req.method !== 'POST') return next()
    if (!fromOwnPages(c.req, storeUrl)) return onRefused(c, 403)
    const type = (c.req.header('content-type') ?? '').split(';')[0].trim().toLowerCase()
    if (type !== 'application/x-www-form-urlencoded') return onRefused(c, 415)
    return limit(c, next)
  }
}

/**
 * Browsers send Sec-Fetch-Site over https (and to localhost), Origin with every post, also over plain http. A post
 * without any of them was not made by a page, so there is nothing to protect, but nothing to serve either.
 */
function fromOwnPages(request, storeUrl) {
  const site = request.header('sec-fetch-site')
  // none: the shopper's own doing, such as a form sent again by reload.
  if (site) return site === 'same-origin' || site === 'none'
  const origin = request.header('origin')
  if (origin) return origin === storeUrl
  const referer = request.header('referer')
  return referer !== undefined && URL.canParse(referer) && new URL(referer).origin === storeUrl
}
