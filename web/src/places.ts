// Where a city's name lies: by the airport or data centre code that names of workers begin with. Longitude and latitude.
const PLACES: Record<string, [number, number, string]> = {
  akl: [174.8, -36.8, "Auckland"], ams: [4.9, 52.4, "Amsterdam"], arn: [18.1, 59.3, "Stockholm"], atl: [-84.4, 33.7, "Atlanta"],
  blr: [77.6, 13.0, "Bangalore"], bom: [72.9, 19.1, "Mumbai"], bos: [-71.1, 42.4, "Boston"], cdg: [2.4, 48.9, "Paris"],
  cmh: [-83.0, 40.0, "Columbus"], cpt: [18.4, -33.9, "Cape Town"], den: [-105.0, 39.7, "Denver"], dfw: [-96.8, 32.8, "Dallas"],
  dub: [-6.3, 53.3, "Dublin"], dxb: [55.3, 25.2, "Dubai"], ewr: [-74.2, 40.7, "Newark"], eze: [-58.4, -34.6, "Buenos Aires"],
  fra: [8.7, 50.1, "Frankfurt"], gig: [-43.2, -22.9, "Rio de Janeiro"], gru: [-46.6, -23.5, "São Paulo"], hel: [24.9, 60.2, "Helsinki"],
  hkg: [114.2, 22.3, "Hong Kong"], iad: [-77.5, 38.9, "Washington"], icn: [127.0, 37.6, "Seoul"], jnb: [28.0, -26.2, "Johannesburg"],
  kix: [135.5, 34.7, "Osaka"], lax: [-118.2, 34.1, "Los Angeles"], lhr: [-0.1, 51.5, "London"], lon: [-0.1, 51.5, "London"],
  maa: [80.3, 13.1, "Chennai"], mad: [-3.7, 40.4, "Madrid"], mel: [145.0, -37.8, "Melbourne"], mia: [-80.2, 25.8, "Miami"],
  mrs: [5.4, 43.3, "Marseille"], mxp: [9.2, 45.5, "Milan"], nrt: [139.7, 35.7, "Tokyo"], nyc: [-74.0, 40.7, "New York"],
  ord: [-87.6, 41.9, "Chicago"], osl: [10.8, 59.9, "Oslo"], otp: [26.1, 44.4, "Bucharest"], pdx: [-122.7, 45.5, "Portland"],
  prg: [14.4, 50.1, "Prague"], rtm: [4.5, 51.9, "Rotterdam"], scl: [-70.7, -33.4, "Santiago"], sea: [-122.3, 47.6, "Seattle"],
  sfo: [-122.4, 37.8, "San Francisco"], sgp: [103.8, 1.4, "Singapore"], sin: [103.8, 1.4, "Singapore"], sjc: [-121.9, 37.3, "San Jose"],
  svo: [37.6, 55.8, "Moscow"], syd: [151.2, -33.9, "Sydney"], tlv: [34.8, 32.1, "Tel Aviv"], tor: [-79.4, 43.7, "Toronto"],
  vie: [16.4, 48.2, "Vienna"], waw: [21.0, 52.2, "Warsaw"], yul: [-73.6, 45.5, "Montréal"], yyz: [-79.4, 43.7, "Toronto"],
  zrh: [8.5, 47.4, "Zürich"],
};

export interface Spot {
  at: [number, number];
  city: string;
}

export function spotOf(worker: string): Spot | null {
  const found = PLACES[worker.slice(0, 3)];
  return found ? { at: [found[0], found[1]], city: found[2] } : null;
}
