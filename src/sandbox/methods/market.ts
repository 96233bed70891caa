import { type Methods, publicMethod } from '../core/exchange.js';
import { currencyFacts, describeCurrencies, describeTicker, instrumentNamed, listInstruments } from '../core/market.js';
import { optionalString, requiredString } from '../core/params.js';

/** A market in which nothing ever moves. */
export const marketMethods: Methods = {
  'public/get_currencies': publicMethod(() => describeCurrencies()),

  'public/get_instruments': publicMethod((_exchange, { params }) =>
    listInstruments(optionalString(params, 'currency'), optionalString(params, 'kind')),
  ),

  'public/get_instrument': publicMethod((_exchange, { params }) =>
    instrumentNamed(requiredString(params, 'instrument_name')),
  ),

  'public/ticker': publicMethod((exchange, { params }) =>
    describeTicker(instrumentNamed(requiredString(params, 'instrument_name')), exchange.now()),
  ),

  'public/get_index_price': publicMethod((_exchange, { params }) => {
    const [base = ''] = requiredString(params, 'index_name').split('_');
    const { index } = currencyFacts(base.toUpperCase());
    return { index_price: index, estimated_delivery_price: index };
  }),
};
