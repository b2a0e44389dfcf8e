import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { keysJsonSchema } from '../../src/cli/json/keys.ts'
import { verifyJsonSchema } from '../../src/cli/json/bundle.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { exportBundle } from '../../src/policy/bundle/export.ts'
import { openParityEngines } from '../../src/policy/bundle/verify.ts'
import { readApiKeys } from '../../src/serve/http/keys.ts'
import { readTlsMaterial } from '../../src/core/trust/material.ts'
import { numbersOf, problemOf, sourceOf } from '../policy/bundleSupport.ts'
import { recordIo } from './io.ts'

const root = mkdtempSync(join(tmpdir(), 'edgewise-keys-cli-'))
const at = (...names: string[]): string => join(root, ...names)
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** Runs one command line; the clock of the recorded Io stands at the beginning of 2026. */
async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const io = recordIo()
  const code = await runCli(argv, io, COMMANDS, '0.0.0')
  return { code, out: io.out(), err: io.err() }
}
const show = async (path: string) =>
  keysJsonSchema.parse(JSON.parse((await run('keys', 'show', path, '--json')).out))

describe('edgewise keys', () => {
  test('makes an authority once, and again only by force', async () => {
    const made = await run('keys', 'init', '--out', at('keys'))
    expect(made).toMatchObject({ code: 0, err: '' })
    const { certificates, signingKeys, issued } = await show(at('keys'))
    expect(certificates).toMatchObject([
      { file: 'ca.pem', role: 'authority', daysLeft: 3650, revoked: false },
    ])
    expect(made.out).toContain(signingKeys[0].keyId)
    expect(issued).toEqual([])
    const again = await run('keys', 'init', '--out', at('keys'))
    expect(again.code).toBe(2)
    expect(again.err).toMatch(/--force/)
  })

  test('makes the keys of machines, which TLS takes, and shows them', async () => {
    const hosts = ['--host', 'cloud.example', '--host', '10.0.0.5']
    const line = [
      'keys',
      'device',
      'cloud',
      '--keys',
      at('keys'),
      ...hosts,
      '--out',
      at('cloud'),
      '--days',
      '90',
    ]
    expect(await run(...line)).toMatchObject({ code: 0, err: '' })
    const { clock } = recordIo()
    expect(readTlsMaterial(at('cloud'), clock).cert).toBe(readFileSync(at('cloud', 'cert.pem'), 'utf8'))
    const [ca, cert] = (await show(at('cloud'))).certificates
    expect(ca).toMatchObject({ file: 'ca.pem', role: 'authority' })
    expect(cert).toMatchObject({
      name: 'cloud',
      hosts: ['cloud.example', '10.0.0.5'],
      daysLeft: 90,
      revoked: false,
    })
    const text = (await run('keys', 'show', at('cloud'))).out
    expect(text).toContain('device cloud, until 2026-04-01 (90 days left)')
    expect(text).toContain('for cloud.example, 10.0.0.5')
    expect((await run('keys', 'show', at('cloud', 'cert.pem'))).out).toContain('device cloud')
    // Renewed, it is another certificate.
    expect((await run(...line)).code).toBe(2)
    expect((await run(...line, '--force')).code).toBe(0)
    expect((await show(at('cloud'))).certificates[1].serial).not.toBe(cert.serial)
    expect((await show(at('keys'))).issued).toHaveLength(2)
  })

  test('revokes a machine by name', async () => {
    await run('keys', 'device', 'lost', '--keys', at('keys'), '--out', at('lost'))
    const { code, out } = await run('keys', 'revoke', 'lost', '--keys', at('keys'))
    expect(code).toBe(0)
    expect(out).toMatch(/revoked: lost, serial [0-9a-f]{32}\ncopy .*crl\.pem/)
    const lost = (await show(at('keys'))).issued?.find(({ name }) => name === 'lost')
    expect(lost?.revokedAt).toBe('2026-01-01T00:00:00.000Z')
    expect((await run('keys', 'show', at('keys'))).out).toContain('lost, revoked on 2026-01-01')
    expect((await run('keys', 'revoke', 'nobody', '--keys', at('keys'))).code).toBe(2)
  })

  test('makes keys for the API, of which the file keeps hashes', async () => {
    const [alice, bob] = [
      await run('keys', 'api', 'alice', '--out', at('api')),
      await run('keys', 'api', 'bob'),
    ]
    const key = /ew-\S+/.exec(alice.out)?.[0] ?? ''
    expect(readApiKeys(at('api')).find(key)).toBe('alice')
    expect(readFileSync(at('api'), 'utf8')).not.toContain(key)
    expect(bob.out).toMatch(/^key: {2}ew-\S+\nline: bob:[0-9a-f]{64}\n$/)
    await run('keys', 'api', 'bob', '--out', at('api'))
    expect(readApiKeys(at('api')).size).toBe(2)
    expect((await run('keys', 'api', 'a b')).code).toBe(2)
  })

  test('lets one authority follow another', async () => {
    expect((await run('keys', 'init', '--out', at('next'), '--also', at('keys'))).code).toBe(0)
    expect((await show(at('next'))).certificates).toHaveLength(2)
    expect((await run('keys', 'retire', '--keys', at('next'))).out).toContain('1 older authority')
    expect((await show(at('next'))).certificates).toHaveLength(1)
  })

  test.each([
    [['keys', 'show', 'absent'], /nothing/],
    [['keys', 'init'], /--out/],
    [['keys', 'device', 'x', '--keys', 'absent', '--out', 'x'], /keys init/],
    [['keys', 'device', '../x', '--keys', 'absent', '--out', 'x'], /name of a device/],
    [['keys', 'init', '--out', 'x', '--days', '0'], /number > 0/],
  ])('%j is refused', async (argv, message) => {
    const { code, err } = await run(...argv)
    expect(code).toBe(2)
    expect(err).toMatch(message)
  })
})

describe('edgewise sign and verify', () => {
  const bundle = at('bundle')
  beforeAll(async () => {
    const problem = problemOf('tiny')
    const { engines } = await openParityEngines()
    const sizes = { random: 20, walks: 5, ties: 5 }
    await exportBundle(sourceOf(problem, numbersOf(problem)), bundle, engines, { sizes })
    for (const engine of engines) await engine.close()
    await run('keys', 'init', '--out', at('signing'))
    await run('keys', 'init', '--out', at('foreign'))
  })
  const verify = (...more: string[]) => run('verify', bundle, '--json', ...more)

  test('a bundle is opened under a trusted key once that key signed it', async () => {
    const trusted = ['--trust', at('signing', 'signing-key.pub.pem')]
    expect(verifyJsonSchema.parse(JSON.parse((await verify()).out)).signature).toBeNull()
    const unsigned = await verify(...trusted)
    expect(unsigned.code).toBe(3)
    expect(unsigned.err).toMatch(/signed by [0-9a-f]{64}\n.*no manifest\.dsse\.json/)
    expect(await run('sign', bundle, '--key', at('signing', 'signing-key.pem'))).toMatchObject({
      code: 0,
      err: '',
    })
    const { keyId } = (await show(at('signing'))).signingKeys[0]
    expect(verifyJsonSchema.parse(JSON.parse((await verify(...trusted)).out))).toMatchObject({
      ok: true,
      signature: { claimedKeyIds: [keyId], trustedKeyIds: [keyId] },
    })
    const foreign = await verify('--trust', at('foreign', 'signing-key.pub.pem'))
    expect(foreign.code).toBe(3)
    const conditions = ['--up-mbps', '20', '--down-mbps', '50', '--rtt-ms', '40']
    expect((await run('decide', bundle, ...conditions, ...trusted)).code).toBe(0)
    const refused = await run(
      'decide',
      bundle,
      ...conditions,
      '--trust',
      at('foreign', 'signing-key.pub.pem'),
    )
    expect(refused.code).toBe(3)
  }, 60_000)

  test('keys of the wrong kind are refused', async () => {
    expect((await verify('--trust', at('signing', 'signing-key.pem'))).err).toMatch(/a private key/)
    expect((await verify('--trust', at('signing', 'ca.pem'))).code).toBe(2)
    expect((await run('sign', bundle, '--key', at('signing', 'signing-key.pub.pem'))).code).toBe(2)
    expect((await run('sign', bundle)).err).toMatch(/--key/)
  })
})
