import { isIP } from 'node:net'
import { InputError, show } from '../errors.ts'

/** A device's name: its certificate's common name, and what the other side knows it by. */
export function checkDeviceName(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) return name
  throw new InputError({
    where: 'name of a device',
    expected: '1 to 63 letters, digits, dots, dashes or underscores, a letter or digit first',
    found: show(name),
  })
}

export type HostName = { readonly type: 'dns' | 'ip'; readonly value: string }

/** A host as a certificate names it: an IP address, or a DNS name without wildcards. Throws InputError. */
export function parseHost(host: string): HostName {
  if (isIP(host) !== 0) return { type: 'ip', value: host }
  const labels = host.split('.')
  const fits =
    host.length <= 253 && labels.every((label) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(label))
  // Digits and dots alone are an address that was mistyped.
  if (fits && !/^[\d.]+$/.test(host)) return { type: 'dns', value: host.toLowerCase() }
  throw new InputError({
    where: '--host',
    expected: 'a DNS name (cloud.example) or an IP address, without port and wildcard',
    found: show(host),
  })
}
