import { html } from 'hono/html'

/** A product's picture, or one made from its title: a shop without photographs should still look like one. */
export function picture(url, title, { eager = false, alt = title } = {}) {
  const source = safeUrl(url)
  if (!source) return drawing(title, alt)
  const loading = eager ? 'eager' : 'lazy'
  return html`<img src="${source}" alt="${alt}" width="800" height="800" loading="${loading}" decoding="async" />`
}

/** Only what a browser fetches as a picture: an address on this host or an http(s) one. */
export function safeUrl(url) {
  if (typeof url !== 'string' || !URL.canParse(url, 'https://shop.invalid')) return undefined
  return ['http:', 'https:'].includes(new URL(url, 'https://shop.invalid').protocol) ? url : undefined
}

/** Colours and shape follow from the title, so that a product keeps its face on every page. */
function drawing(title, alt) {
  const seed = hash(title)
  const hue = seed % 360
  const shapes = [
    html`<circle cx="200" cy="205" r="118" />`,
    html`<path d="M90 320V190a110 110 0 0 1 220 0v130Z" />`,
    html`<rect x="96" y="96" width="208" height="208" rx="44" transform="rotate(12 200 200)" />`,
    html`<path d="M200 82 322 200 200 318 78 200Z" />`,
  ]
  const meaning = alt ? html`role="img" aria-label="${alt}"` : html`aria-hidden="true"`
  return html`<svg class="drawing" viewBox="0 0 400 400" ${meaning}>
    <rect width="400" height="400" fill="hsl(${hue} 34% 92%)" />
    <g fill="hsl(${hue} 38% 82%)">${shapes[(seed >>> 9) % shapes.length]}</g>
    <text x="200" y="206" fill="hsl(${hue} 42% 34%)" font-size="120" font-weight="600">
      ${[...title][0]?.toUpperCase() ?? ''}
    </text>
  </svg>`
}

/** FNV-1a, 32 bits. */
function hash(text) {
  let value = 0x811c9dc5
  for (const character of text) value = Math.imul(value ^ character.codePointAt(0), 0x01000193) >>> 0
  // Titles that differ in their last letter only would come out alike without mixing.
  value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d)
  return (value ^ (value >>> 13)) >>> 0
}
