import { ContainerRegistrationKeys, Modules, ProductStatus } from "@medusajs/framework/utils"
import type { SalesChannelDTO } from "@medusajs/framework/types"
import { createInventoryLevelsWorkflow, createProductsWorkflow } from "@medusajs/medusa/core-flows"
import { amountIn, type Context } from "./context"
import { addMissingPrices } from "./prices"
import { shippingProfile } from "./shipping"

interface Sample {
  handle: string
  title: string
  subtitle: string
  description: string
  euros: number
  option: string
  values: string[]
}

/** Images are samples/<handle>.svg, served by src/api/static/samples. */
export const SAMPLES: Sample[] = [
  {
    handle: "enamel-mug",
    title: "Enamel mug",
    subtitle: "For the campfire and the kitchen",
    description:
      "Steel, twice enamelled and fired at 800 degrees, with a rim that takes knocks. Holds 350 ml, keeps coffee warm for " +
      "as long as a sunrise lasts, and goes into the dishwasher afterwards.",
    euros: 14,
    option: "Colour",
    values: ["Forest", "Cream"],
  },
  {
    handle: "canvas-tote",
    title: "Canvas tote bag",
    subtitle: "Carries a week's market",
    description:
      "Heavy organic cotton with seams sewn twice and handles long enough for the shoulder. Flat when empty, it holds 12 kg " +
      "without complaint and looks better with every wash.",
    euros: 18,
    option: "Colour",
    values: ["Natural", "Rust"],
  },
  {
    handle: "merino-beanie",
    title: "Merino beanie",
    subtitle: "Warm without scratching",
    description:
      "Knitted in one piece from fine merino wool, so there is no seam to feel. Thin enough to go under a helmet, warm " +
      "enough for the last bus home.",
    euros: 29,
    option: "Size",
    values: ["S/M", "L/XL"],
  },
  {
    handle: "dotted-notebook",
    title: "Dotted notebook",
    subtitle: "Lies flat, takes ink",
    description:
      "160 pages of 100 g paper with a faint dot grid, thread-bound so that it stays open where you left it. With a ribbon, " +
      "a pocket at the back and a cover of recycled board.",
    euros: 12,
    option: "Format",
    values: ["A6", "A5"],
  },
  {
    handle: "stoneware-planter",
    title: "Stoneware planter",
    subtitle: "Thrown by hand, drained well",
    description:
      "A small pot for a plant with character: thrown on the wheel, glazed outside, left open to breathe inside, with a " +
      "hole in the bottom and a saucer of its own.",
    euros: 34,
    option: "Diameter",
    values: ["12 cm", "16 cm"],
  },
]

const STOCK = 100
const noteOf = (sample: Sample) => `sample:${sample.handle}`

/**
 * Sample products, each made once: what a merchant edited or deleted is not touched again. The only thing that is added
 * later are prices after a change of currency.
 */
export async function ensureSamples(context: Context, channel: SalesChannelDTO): Promise<void> {
  const { ledger, settings } = context
  for (const sample of SAMPLES) {
    if (ledger.get(noteOf(sample))) {
      const variants = await variantsOf(context, ledger.get(noteOf(sample))!)
      await addMissingPrices(context, "product_variant", variants, sample.euros)
    } else if (settings.sampleProducts) {
      await create(context, channel, sample)
    }
  }
}

async function create(context: Context, channel: SalesChannelDTO, sample: Sample): Promise<void> {
  const { container, ledger, changed } = context
  // Here already: an earlier run ended between the product and its stock, or a merchant uses the same address.
  const [existing] = await container.resolve(Modules.PRODUCT).listProducts({ handle: sample.handle })
  const id = existing?.id ?? (await createProduct(context, channel, sample))
  if (!existing || existing.metadata?.sample === true) await stock(context, id)
  await ledger.set(noteOf(sample), id)
  changed(`sample ${sample.handle}`)
}

async function createProduct(context: Context, channel: SalesChannelDTO, sample: Sample): Promise<string> {
  const { container, settings } = context
  const profile = await shippingProfile(context)
  // Relative: the shop, the API and the dashboard share one host, whose name may change.
  const url = `/static/samples/${sample.handle}.svg`
  const prices = [{ currency_code: settings.currency, amount: amountIn(settings.currency, sample.euros) }]
  const { result } = await createProductsWorkflow(container).run({
    input: {
      products: [
        {
          title: sample.title,
          subtitle: sample.subtitle,
          handle: sample.handle,
          description: sample.description,
          status: ProductStatus.PUBLISHED,
          thumbnail: url,
          images: [{ url }],
          metadata: { sample: true },
          shipping_profile_id: profile.id,
          sales_channels: [{ id: channel.id }],
          options: [{ title: sample.option, values: sample.values }],
          variants: sample.values.map((value, index) => ({
            title: value,
            sku: `${sample.handle}-${index + 1}`.toUpperCase(),
            options: { [sample.option]: value },
            prices,
          })),
        },
      ],
    },
  })
  return result[0]!.id
}

/** Puts all variants of a product on stock in the store's first location. */
async function stock(context: Context, product: string): Promise<void> {
  const { container, ledger } = context
  const locations = await container.resolve(Modules.STOCK_LOCATION).listStockLocations({}, { order: { created_at: "ASC" } })
  const location = locations.find(({ id }) => id === ledger.get("stock-location")) ?? locations[0]
  if (!location) return
  const { data: links } = await container.resolve(ContainerRegistrationKeys.QUERY).graph({
    entity: "product_variant_inventory_item",
    fields: ["inventory_item_id"],
    filters: { variant_id: await variantsOf(context, product) },
  })
  const items = links.map((link: { inventory_item_id: string }) => link.inventory_item_id)
  const levels = await container
    .resolve(Modules.INVENTORY)
    .listInventoryLevels({ inventory_item_id: items, location_id: location.id }, { take: null })
  const missing = items.filter((item: string) => !levels.some(({ inventory_item_id }) => inventory_item_id === item))
  if (!missing.length) return
  await createInventoryLevelsWorkflow(container).run({
    input: {
      inventory_levels: missing.map((inventory_item_id: string) => ({
        inventory_item_id,
        location_id: location.id,
        stocked_quantity: STOCK,
      })),
    },
  })
}

async function variantsOf({ container }: Context, product: string): Promise<string[]> {
  const variants = await container.resolve(Modules.PRODUCT).listProductVariants({ product_id: product }, { take: null })
  return variants.map(({ id }) => id)
}
