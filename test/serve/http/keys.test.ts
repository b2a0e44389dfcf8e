import fc from 'fast-check'
import OpenAI from 'openai'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { newApiKey, parseApiKeys, readApiKeys } from '../../../src/serve/http/keys.ts'
import { RateLimiter } from '../../../src/serve/http/rate.ts'
import { InputError } from '../../../src/core/errors.ts'
import { HandTime } from '../../run/wire/support.ts'
import { ask, closeAll, hello, serve, until } from './support.ts'

afterEach(closeAll)

const KEY = 'ew-0123456789abcdef'
const hash = (key: string) => createHash('sha256').update(key).digest('hex')

describe('a file of API keys', () => {
  it('has keys or their hashes, by name', () => {
    const keys = parseApiKeys(
      `# keys\n\nann ${KEY}\r\nbob:${hash('another key of bob')}\nbob third-key-0123456\n`,
      'f',
    )
    expect(keys.size).toBe(3)
    expect([KEY, 'another key of bob', 'third-key-0123456'].map((key) => keys.find(key))).toEqual([
      'ann',
      'bob',
      'bob',
    ])
    expect([keys.find(''), keys.find(hash(KEY)), keys.find(`${KEY} `)]).toEqual([null, null, null])
  })

  it.each([
    ['ann short', /16 characters/],
    ['anonymous 0123456789abcdef', /anonymous/],
    ['../x 0123456789abcdef', /name/],
    [`ann:${'g'.repeat(64)}`, /neither/],
    [`ann ${KEY}\nbob ${KEY}`, /f:2[^]*the key of ann/],
    ['', /1 to 1024/],
    [Array.from({ length: 1025 }, (_, i) => `ann ${i}-0123456789abcdef`).join('\n'), /1 to 1024/],
  ])('that is wrong is refused: %.40s', (text, message) => {
    expect(() => parseApiKeys(text, 'f')).toThrow(InputError)
    expect(() => parseApiKeys(text, 'f')).toThrow(message)
  })

  it('never tells a key in an error', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\x21-\x7e]{17,60}$/), (key) => {
        const parse = () => parseApiKeys(`x/y ${key}`, 'f')
        expect(parse).toThrow(/the name/)
        expect(parse).not.toThrow(key)
      }),
    )
    const twice = () => parseApiKeys(`ann ${KEY}\nbob ${KEY}`, 'f')
    expect(twice).toThrow(/the key of ann/)
    expect(twice).not.toThrow(KEY)
  })

  it('takes the line of a new key', () => {
    const folder = mkdtempSync(join(tmpdir(), 'edgewise-keys-'))
    try {
      const { key, line } = newApiKey('ann', new Uint8Array(32).fill(7))
      expect(line).not.toContain(key)
      writeFileSync(join(folder, 'keys'), line)
      expect(readApiKeys(join(folder, 'keys')).find(key)).toBe('ann')
    } finally {
      rmSync(folder, { recursive: true })
    }
    expect(() => newApiKey('ann', new Uint8Array(31))).toThrow(RangeError)
    expect(() => newApiKey('a b', new Uint8Array(32))).toThrow(InputError)
  })
})

describe('a server with keys', () => {
  const keys = parseApiKeys(`ann ${KEY}`, 'test')

  it('asks for one but of who looks after its health', async () => {
    const { server, client, backend, records } = await serve({ keys }, undefined, KEY)
    await client.chat.completions.create(hello)
    expect(backend.requests[0].principal).toBe('ann')
    const stranger = new OpenAI({ baseURL: client.baseURL, apiKey: 'ew-wrong-0123456789', maxRetries: 0 })
    const refused = stranger.chat.completions.create(hello)
    await expect(refused).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
    await expect(refused).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' })
    await expect(refused).rejects.not.toThrow(/wrong/)
    for (const path of ['/v1/models', '/v1/models/scripted', '/metrics']) {
      const { status, headers } = await ask(server, path)
      expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    }
    expect((await ask(server, '/healthz')).status).toBe(200)
    expect((await ask(server, '/readyz')).status).toBe(200)
    await until(() => records.length === 7)
    expect(records.map(({ principal }) => principal)).toEqual(['ann', ...Array<null>(6).fill(null)])
  })

  it('asks no name of a host; one without keys asks for this machine', async () => {
    const elsewhere = { headers: { Host: 'evil.example' } }
    const { request } = await import('node:http')
    const status = (port: number, headers: Record<string, string>) =>
      new Promise((resolve) => {
        request({ port, path: '/v1/models', headers }, (response) => {
          response.resume()
          resolve(response.statusCode)
        }).end()
      })
    const locked = await serve({ keys })
    expect(await status(locked.server.port, { ...elsewhere.headers, authorization: `Bearer ${KEY}` })).toBe(
      200,
    )
    const open = await serve()
    expect(await status(open.server.port, elsewhere.headers)).toBe(403)
    for (const host of ['localhost', 'localhost:80', '127.0.0.1:80', '[::1]:80']) {
      expect(await status(open.server.port, { host })).toBe(200)
    }
  })

  it('limits each in requests a minute', async () => {
    const time = new HandTime()
    const two = parseApiKeys(`ann ${KEY}\nbob bob-0123456789abc`, 'test')
    const limits = { requestsPerMinute: 2 }
    const { client } = await serve({ keys: two, limits, clock: time }, undefined, KEY)
    await client.chat.completions.create(hello)
    await client.chat.completions.create(hello)
    const error: unknown = await client.chat.completions.create(hello).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(OpenAI.RateLimitError)
    expect((error as InstanceType<typeof OpenAI.RateLimitError>).headers?.get('retry-after')).toBe('30')
    const bob = new OpenAI({ baseURL: client.baseURL, apiKey: 'bob-0123456789abc', maxRetries: 0 })
    await bob.chat.completions.create(hello)
    time.pass(30)
    await client.chat.completions.create(hello)
    await client.models.list()
  })
})

describe('the limiter', () => {
  it('lets no more through than a minute full and its rate', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30 }),
        fc.array(fc.double({ min: 0, max: 20, noNaN: true })),
        (rate, waits) => {
          const time = new HandTime()
          const limiter = new RateLimiter(rate, time)
          let taken = 0
          for (const seconds of waits) {
            time.pass(seconds)
            const wait = limiter.take('ann')
            if (wait === 0) taken++
            else expect(wait).toBeLessThanOrEqual(60 / rate + 1e-9)
            expect(taken).toBeLessThanOrEqual(rate + (rate / 60) * time.nowSeconds() + 1e-9)
          }
        },
      ),
    )
    expect(() => new RateLimiter(0, new HandTime())).toThrow(RangeError)
  })
})
