import { BlockList, isIP } from 'node:net';

/** A whitelist of addresses and subnets; null where an entry is neither. */
export function parseIpList(entries: readonly string[]): BlockList | null {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = '', prefix, ...rest] = entry.split('/');
    const version = isIP(address);
    if (version === 0 || rest.length > 0 || address.includes('%')) return null;
    const family = version === 6 ? 'ipv6' : 'ipv4';
    if (prefix === undefined) {
      list.addAddress(address, family);
    } else {
      if (!/^(0|[1-9]\d{0,2})$/.test(prefix) || Number(prefix) > (version === 6 ? 128 : 32)) return null;
      list.addSubnet(address, Number(prefix), family);
    }
  }
  return list;
}

/** Whether `address` may come in: an empty whitelist lets everyone. */
export function isAllowed(list: BlockList, address: string): boolean {
  return list.rules.length === 0 || list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}
