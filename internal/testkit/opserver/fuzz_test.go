package opserver_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/gatehouse/internal/testkit/opserver"
)

// FuzzServe sends arbitrary requests to every endpoint: never a 5xx, never a
// panic.
func FuzzServe(f *testing.F) {
	op, err := opserver.New(opserver.Config{Issuer: "http://id.test/as"})
	if err != nil {
		f.Fatal(err)
	}
	if err := op.AddUser("alice", "pw", nil); err != nil {
		f.Fatal(err)
	}
	if err := op.AddClient(opserver.Client{ID: "rp", Secret: "s", RedirectURIs: []string{"http://rp.test/cb"}}); err != nil {
		f.Fatal(err)
	}
	pat, err := op.AccessToken("alice", "rp", "uma_protection", "openid")
	if err != nil {
		f.Fatal(err)
	}
	form, bearer := "application/x-www-form-urlencoded", "Bearer "+pat
	for _, seed := range [][5]string{
		{"GET", "/as/ep/az-3f?client_id=rp&redirect_uri=http://rp.test/cb&response_type=code&scope=openid&max_age=9999999999999", "", "", ""},
		{"GET", "/as/ep/az-3f?client_id=rp&client_id=rp&%zz", "", "", ""},
		{"POST", "/as/ep/az-3f", form, "", "client_id=rp&redirect_uri=http://rp.test/cb&id_token_hint=e30.e30."},
		{"POST", "/as/ep/tok-7", form, "Basic cnA6cw==", "grant_type=urn:ietf:params:oauth:grant-type:uma-ticket&ticket=x&claim_token=e30.e30.e30&claim_token_format=http://openid.net/specs/openid-connect-core-1_0.html%23IDToken"},
		{"POST", "/as/ep/tok-7", form, "Basic ====", "grant_type=refresh_token&refresh_token=%00"},
		{"POST", "/as/ep/tok-7", form, "", "grant_type=authorization_code&client_id=rp&client_secret=s&code=;&code_verifier="},
		{"POST", "/as/ep/rs-9d", "application/json", bearer, `{"resource_scopes":["a"],"name":"\ud800","x":[[[[]]]]}`},
		{"PUT", "/as/ep/rs-9d/%2e%2e", "application/json", bearer, `{"resource_scopes":[]}`},
		{"POST", "/as/ep/perm-1e", "application/json", bearer, `[null,1,{"resource_id":1}]`},
		{"POST", "/as/ep/look-2c", form, bearer, "token=" + pat},
		{"POST", "/as/ep/rv-60", form, "Basic cnA6cw==", "token=x&token_type_hint=y"},
		{"GET", "/as/ep/who-8", "", bearer, ""},
		{"GET", "/as/ep/bye-4?post_logout_redirect_uri=%3A&client_id=rp", "", "", ""},
		{"POST", "/as/ep/in-b2", form, "", "next=//x&form_token=1"},
		{"POST", "/as/ep/share-c7/x", "multipart/form-data; boundary=x", "", "--x"},
		{"DELETE", "/as//ep/../.well-known/uma2-configuration", "", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	f.Fuzz(func(t *testing.T, method, target, contentType, auth, body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://id.test"+target, strings.NewReader(body))
		if err != nil {
			return // HTTP cannot carry it
		}
		r.RequestURI = r.URL.RequestURI()
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", auth)
		rec := httptest.NewRecorder()
		op.ServeHTTP(rec, r)
		if rec.Code >= http.StatusInternalServerError {
			t.Errorf("%s %q: %d %s", method, target, rec.Code, rec.Body)
		}
	})
}

// FuzzKeycloak sends arbitrary requests to the UMA endpoints of the dialect
// Keycloak: never a panic, and no 5xx except those that Keycloak has.
func FuzzKeycloak(f *testing.F) {
	op, err := opserver.New(opserver.Config{Issuer: "http://id.test/as", Dialect: opserver.Keycloak})
	if err != nil {
		f.Fatal(err)
	}
	if err := op.AddUser("alice", "pw", nil); err != nil {
		f.Fatal(err)
	}
	if err := op.AddClient(opserver.Client{ID: "rp", Secret: "s"}); err != nil {
		f.Fatal(err)
	}
	pat, err := op.AccessToken("alice", "rp")
	if err != nil {
		f.Fatal(err)
	}
	const grant = "grant_type=urn:ietf:params:oauth:grant-type:uma-ticket&"
	form, bearer, basic := "application/x-www-form-urlencoded", "Bearer "+pat, "Basic cnA6cw=="
	for _, seed := range [][5]string{
		{"POST", "/as/ep/rs-9d", "application/json", bearer, `{"name":"a","resource_scopes":["a",{"name":"b"}],"attributes":{},"uris":["/x"],"_id":"r1","owner":{}}`},
		{"POST", "/as/ep/rs-9d", "application/json", bearer, `{"name":"b","resource_scopes":[null,[]],"scopes":[1]}`},
		{"GET", "/as/ep/rs-9d?name=A&exactName=true&first=-1&max=-9&deep=true&scope=a&uri=/x&type=&owner=alice", "", bearer, ""},
		{"PUT", "/as/ep/rs-9d/r1", "application/json", bearer, `{"name":"a","ownerManagedAccess":true}`},
		{"POST", "/as/ep/perm-1e", "application/json", bearer, `[null,{"resource_id":"r1","resource_scopes":null},{"resource_scopes":["a"]}]`},
		{"POST", "/as/ep/perm-1e", "application/json", bearer, `[{"resource_id":"a","claims":1}]`},
		{"POST", "/as/ep/tok-7", form, basic, grant + "ticket=e30.e30.e30&rpt=x&claim_token=" + pat},
		{"POST", "/as/ep/tok-7", form, bearer, grant + "ticket=&submit_request=false&scope=a+b"},
		{"POST", "/as/ep/look-2c", form, basic, "token_type_hint=requesting_party_token&token=" + pat},
		{"PATCH", "/as/ep/rs-9d/r1", "", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	f.Fuzz(func(t *testing.T, method, target, contentType, auth, body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://id.test"+target, strings.NewReader(body))
		if err != nil {
			return // HTTP cannot carry it
		}
		r.RequestURI = r.URL.RequestURI()
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", auth)
		rec := httptest.NewRecorder()
		op.ServeHTTP(rec, r)
		if rec.Code >= http.StatusInternalServerError && !strings.Contains(rec.Body.String(), `"error":"unknown_error"`) && !strings.Contains(rec.Body.String(), `"error":"server_error"`) {
			t.Errorf("%s %q: %d %s", method, target, rec.Code, rec.Body)
		}
	})
}
