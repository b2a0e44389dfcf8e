import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { DEFAULT_API_LIMITS } from '../../../src/serve/http/options.ts'
import { DEFAULT_LIMITS } from '../../../src/serve/edge/types.ts'
import { ApiMetrics } from '../../../src/serve/http/metrics.ts'

const root = resolve(import.meta.dirname, '../../..')
const page = readFileSync(resolve(root, 'docs/api.md'), 'utf8')
const source = readdirSync(resolve(root, 'src/serve/http'))
  .map((file) => readFileSync(resolve(root, 'src/serve/http', file), 'utf8'))
  .join('\n')

describe('docs/api.md', () => {
  it('names every metric', () => {
    const registry = new Registry()
    new ApiMetrics(registry)
    const names = registry.getMetricsAsArray().map(({ name }) => name)
    expect(names).toHaveLength(7)
    for (const name of names) expect(page).toMatch(new RegExp(`\\| \`${name}[\`{]`))
  })

  it('names every code of an error, and none that there is not', () => {
    const told = ['client_left', 'client_unread']
    const inSource = [
      ...source.matchAll(/(?:code: |badRequest\(\s*|code = draining \? |tooMany\()'([a-z]\w+)'/g),
    ]
    const codes = new Set(inSource.map(([, code]) => code))
    expect(codes.size).toBeGreaterThan(20)
    const missing = [...codes].filter((code) => !told.includes(code) && !page.includes(`\`${code}\``))
    expect(missing).toEqual([])
    const rows = [...page.matchAll(/^\| \d{3} +\| ([^|]+)\|/gm)].flatMap(([, cell]) => [
      ...cell.matchAll(/`(\w+)`/g),
    ])
    expect(rows.length).toBeGreaterThan(20)
    expect(rows.filter(([, code]) => !source.includes(`'${code}'`)).map(([, code]) => code)).toEqual([])
  })

  it('has the limits that there are', () => {
    const { bodyBytes, headerBytes, headerSeconds, uploadSeconds, ...more } = DEFAULT_API_LIMITS
    expect(page).toContain(`more than ${bodyBytes / 2 ** 20} MiB`)
    expect(page).toContain(`more than ${headerBytes / 1024} KiB`)
    expect(page).toContain(`headers took ${headerSeconds} s, or the whole request ${uploadSeconds} s`)
    expect(page).toContain(`the server's own ${DEFAULT_LIMITS.totalSeconds} s`)
    expect(page).toContain(`after ${more.heartbeatSeconds} seconds of silence`)
    expect(page).toContain(`more than ${more.unreadBytes / 1024} KiB of an answer unread`)
    expect(page).toContain(`anything for ${more.unreadSeconds} seconds`)
  })
})
