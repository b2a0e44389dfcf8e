import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { daysUntil, readCertificates, summarise } from '../../../src/core/trust/certificate.ts'
import { initKeys, readIssued, revokeDevice, writeDevice } from '../../../src/core/trust/keyFolder.ts'
import { readTlsMaterial } from '../../../src/core/trust/material.ts'
import { checkDeviceName, parseHost } from '../../../src/core/trust/names.ts'

const root = mkdtempSync(join(tmpdir(), 'edgewise-keys-'))
const at = (...names: string[]): string => join(root, ...names)
const clockAt = (time: string) => ({ nowSeconds: () => 0, wallTime: () => time })
const clock = clockAt('2026-03-01T12:00:00.000Z')
const terms = { clock, validDays: 30, force: false }
const mode = (path: string): number => statSync(path).mode & 0o777
const posix = test.skipIf(process.platform === 'win32')

beforeAll(async () => {
  await initKeys(at('keys'), { ...terms, validDays: 100 })
  await writeDevice(at('keys'), at('cloud'), {
    ...terms,
    name: 'cloud',
    hosts: ['Cloud.example', '10.0.0.5', '::1'],
  })
  await writeDevice(at('keys'), at('edge'), { ...terms, name: 'edge-1', hosts: [] })
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

describe('key folders', () => {
  posix('belong to their owner alone, as every secret in them does', () => {
    expect([mode(at('keys')), mode(at('cloud'))]).toEqual([0o700, 0o700])
    const secret = ['ca-key.pem', 'signing-key.pem', 'issued.json'].map((file) => mode(at('keys', file)))
    expect([...secret, mode(at('cloud', 'key.pem'))]).toEqual([0o600, 0o600, 0o600, 0o600])
  })

  test('hold what they say', () => {
    expect(readdirSync(at('keys')).sort()).toEqual([
      'README.md',
      'ca-key.pem',
      'ca.pem',
      'crl.pem',
      'issued.json',
      'signing-key.pem',
      'signing-key.pub.pem',
    ])
    expect(readdirSync(at('cloud')).sort()).toEqual(['README.md', 'ca.pem', 'cert.pem', 'crl.pem', 'key.pem'])
  })

  test('are not overwritten unasked, and nothing changes by the refusal', async () => {
    const before = readFileSync(at('keys', 'ca-key.pem'), 'utf8')
    await expect(initKeys(at('keys'), terms)).rejects.toThrow(/--force/)
    await expect(writeDevice(at('keys'), at('edge'), { ...terms, name: 'x', hosts: [] })).rejects.toThrow(
      /--force/,
    )
    expect(readFileSync(at('keys', 'ca-key.pem'), 'utf8')).toBe(before)
    expect(readIssued(at('keys')).map(({ name }) => name)).toEqual(['cloud', 'edge-1'])
  })

  test('of an authority never become those of a device, whatever is forced', async () => {
    const options = { ...terms, force: true, name: 'x', hosts: [] }
    await expect(writeDevice(at('keys'), at('keys'), options)).rejects.toThrow(/authority's folder/)
    await expect(writeDevice(at('edge'), at('new'), options)).rejects.toThrow(/keys init/)
  })
})

describe('a certificate', () => {
  const read = (...path: string[]): X509Certificate => new X509Certificate(readFileSync(at(...path)))

  test('says who, where, how long', () => {
    const summary = summarise(read('cloud', 'cert.pem'))
    expect(summary).toMatchObject({
      role: 'device',
      name: 'cloud',
      hosts: ['cloud.example', '10.0.0.5', '0:0:0:0:0:0:0:1'],
      notBefore: '2026-03-01T11:00:00.000Z',
      notAfter: '2026-03-31T12:00:00.000Z',
    })
    expect(summary.serial).toBe(readIssued(at('keys'))[0].serial)
    expect(summary.serial).toMatch(/^[4-7][0-9a-f]{31}$/)
    expect(daysUntil(summary.notAfter, clock.wallTime())).toBe(30)
    expect(summarise(read('keys', 'ca.pem'))).toMatchObject({ role: 'authority', hosts: [] })
  })

  test('does not outlive its authority, and none is issued after it', async () => {
    const late = { ...terms, force: true, name: 'late', hosts: [], validDays: 1000 }
    const { notAfter } = await writeDevice(at('keys'), at('late'), late)
    expect(notAfter).toBe(summarise(read('keys', 'ca.pem')).notAfter)
    const after = { ...late, clock: clockAt('2026-08-01T00:00:00.000Z') }
    await expect(writeDevice(at('keys'), at('late'), after)).rejects.toThrow(/expired on 2026-06-09/)
  })

  const openssl = spawnSync('openssl', ['version']).status === 0
  test.skipIf(!openssl)(
    'and the list of revoked ones are what openssl takes them for (skipped without it)',
    async () => {
      await writeDevice(at('keys'), at('lost'), { ...terms, name: 'lost', hosts: [] })
      await revokeDevice(at('keys'), 'lost', clock)
      const verify = (name: string) => {
        const time = String(new Date('2026-03-02T00:00:00Z').getTime() / 1000)
        const files = [
          '-CAfile',
          at('keys', 'ca.pem'),
          '-CRLfile',
          at('keys', 'crl.pem'),
          at(name, 'cert.pem'),
        ]
        return spawnSync('openssl', ['verify', '-x509_strict', '-crl_check_all', '-attime', time, ...files], {
          encoding: 'utf8',
        })
      }
      expect(verify('cloud').stdout).toContain('OK')
      expect(verify('lost').stderr).toContain('certificate revoked')
    },
  )
})

describe('material for TLS', () => {
  test('is read where all is well', () => {
    const { ca, cert, key, crl } = readTlsMaterial(at('cloud'), clock)
    expect(readCertificates(ca, 'ca')).toHaveLength(1)
    expect(readCertificates(cert, 'cert')[0].subject).toBe('CN=cloud')
    expect(key).toContain('PRIVATE KEY')
    expect(crl).toHaveLength(1)
  })

  test('says when it has expired, or is of the future', () => {
    expect(() => readTlsMaterial(at('cloud'), clockAt('2026-03-31T12:00:00.000Z'))).toThrow(
      /expired on 2026-03-31T12:00:00.000Z[\s\S]*keys device cloud/,
    )
    expect(() => readTlsMaterial(at('cloud'), clockAt('2026-02-01T00:00:00.000Z'))).toThrow(/clock/)
  })

  /** A copy of the cloud's folder with one file taken from elsewhere. */
  const spoil = (file: string, from: string | null): string => {
    const folder = mkdtempSync(at('spoilt-'))
    for (const name of ['ca.pem', 'cert.pem', 'key.pem', 'crl.pem'])
      copyFileSync(at('cloud', name), join(folder, name))
    if (from === null) rmSync(join(folder, file))
    else copyFileSync(from, join(folder, file))
    return folder
  }

  test.each([
    ['the key of another certificate', 'key.pem', at('edge', 'key.pem'), /another key/],
    ['no key', 'key.pem', null, /key\.pem[\s\S]*ENOENT/],
    ['no certificate', 'cert.pem', null, /keys device/],
    ['a key where the certificate should be', 'cert.pem', at('edge', 'key.pem'), /certificate in PEM/],
    ['a certificate where the key should be', 'key.pem', at('edge', 'cert.pem'), /private key/],
    ['a device in place of the authority', 'ca.pem', at('edge', 'cert.pem'), /authority in/],
    ['no list in the file of lists', 'crl.pem', at('cloud', 'cert.pem'), /a list of each of the 1/],
  ])('with %s is refused', (_what, file, from, message) => {
    const folder = spoil(file, from)
    if (process.platform !== 'win32' && from !== null && file === 'key.pem')
      chmodSync(join(folder, file), 0o600)
    expect(() => readTlsMaterial(folder, clock)).toThrow(InputError)
    expect(() => readTlsMaterial(folder, clock)).toThrow(message)
  })

  posix.each([0o640, 0o604, 0o666])('with a key of mode %o is refused, and says what to do', (bits) => {
    const folder = spoil('crl.pem', at('keys', 'crl.pem'))
    chmodSync(join(folder, 'key.pem'), bits)
    expect(() => readTlsMaterial(folder, clock)).toThrow(/only its owner[\s\S]*chmod 600/)
  })

  posix('in a folder that others can write to is refused', () => {
    const folder = spoil('crl.pem', at('keys', 'crl.pem'))
    chmodSync(folder, 0o777)
    expect(() => readTlsMaterial(folder, clock)).toThrow(/chmod go-w/)
  })

  test('whatever the files hold, is read or refused as input', () => {
    const folder = spoil('crl.pem', at('keys', 'crl.pem'))
    const files = ['ca.pem', 'cert.pem', 'crl.pem'].map(
      (file) => [file, readFileSync(join(folder, file))] as const,
    )
    fc.assert(
      fc.property(fc.constantFrom(...files), fc.nat(), fc.nat(255), ([file, text], place, byte) => {
        const changed = Buffer.from(text)
        changed[place % changed.length] = byte
        writeFileSync(join(folder, file), changed)
        try {
          readTlsMaterial(folder, clock)
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
        writeFileSync(join(folder, file), text)
      }),
      { numRuns: 300 },
    )
  })
})

describe('revoking', () => {
  test('an unknown device, or one twice, is an error that names those there are', async () => {
    await expect(revokeDevice(at('keys'), 'nobody', clock)).rejects.toThrow(/cloud[\s\S]*no such device/)
    await writeDevice(at('keys'), at('twice'), { ...terms, name: 'twice', hosts: [] })
    expect(await revokeDevice(at('keys'), 'twice', clock)).toHaveLength(1)
    await expect(revokeDevice(at('keys'), 'twice', clock)).rejects.toThrow(/revoked already/)
    expect(readIssued(at('keys')).find(({ name }) => name === 'twice')?.revokedAt).toBe(clock.wallTime())
  })

  test('that ended between its two files has written the list, and can be repeated', async () => {
    await writeDevice(at('keys'), at('torn'), { ...terms, name: 'torn', hosts: [] })
    const [issued, list] = [at('keys', 'issued.json'), at('keys', 'crl.pem')]
    const [issuedBefore, listBefore] = [readFileSync(issued, 'utf8'), readFileSync(list, 'utf8')]
    const wallTime = (): string => {
      // A folder in its place: issued.json is read already, and cannot be written.
      rmSync(issued, { recursive: true, force: true })
      mkdirSync(issued)
      return clock.wallTime()
    }
    await expect(revokeDevice(at('keys'), 'torn', { ...clock, wallTime })).rejects.toThrow()
    rmSync(issued, { recursive: true })
    writeFileSync(issued, issuedBefore, { mode: 0o600 })
    expect(readFileSync(list, 'utf8')).not.toBe(listBefore)
    expect(await revokeDevice(at('keys'), 'torn', clock)).toHaveLength(1)
  })
})

test('what an authority issued is never noted so that it cannot be read again', async () => {
  const hosts = Array.from({ length: 101 }, (_, i) => `h${i}.example`)
  const before = readIssued(at('keys'))
  const wide = writeDevice(at('keys'), at('wide'), { ...terms, name: 'wide', hosts })
  await expect(wide).rejects.toThrow(InputError)
  expect(readIssued(at('keys'))).toEqual(before)
})

describe('names', () => {
  test.each(['cloud.example', 'a', 'x-1.y', '10.0.0.5', '::1', 'fe80::1'])('%s is a host', (host) => {
    expect(parseHost(host).value).toBe(host)
  })
  test.each(['', '*.example', 'a b', 'cloud:7400', '10.0.0', '-a', 'a..b', 'a/b', 'x\n', 'é.example'])(
    '%j is none',
    (host) => expect(() => parseHost(host)).toThrow(InputError),
  )
  test.each(['', '-a', '../a', 'a b', 'a\nCN=b', 'x'.repeat(64)])('%j is no name of a device', (name) => {
    expect(() => checkDeviceName(name)).toThrow(InputError)
  })
})
