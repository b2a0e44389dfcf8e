import { isIP } from 'node:net'
import { InputError, show } from '../errors.ts'

/** Checks a device's name: the common name of its certificate, by which the other side knows it. */
export function checkDeviceName(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) return name
  throw new InputError({
    where: 'name of a device',
    expected: '1 to 63 letters, digits, dots, dashes or underscores, a letter or digit first',
    found: show(name),
  })
}

/** A host name in a certificate. */
type HostName = { readonly type: 'dns' | 'ip'; readonly value: string }

/** Parses a host for a certificate: an IP address, or a DNS name without wildcards. Throws InputError. */
export function parseHost(host: string): HostName {
  if (isIP(host) !== 0) return { type: 'ip', value: host }
  const labels = host.split('.')
  const fits =
    host.length <= 253 && labels.every((label) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(label))
  // Digits and dots that are not an IP address are a mistyped one.
  if (fits && !/^[\d.]+$/.test(host)) return { type: 'dns', value: host.toLowerCase() }
  throw new InputError({
    where: '--host',
    expected: 'a DNS name (cloud.example) or an IP address, without port and wildcard',
    found: show(host),
  })
}
